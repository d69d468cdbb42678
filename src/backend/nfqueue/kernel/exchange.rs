//! Requests by netlink that the kernel confirms.
use super::netlink::Messages;
use super::sys::{self, Descriptor};
use std::io::{Error, Result};

/// Room for what may come before the answer: what the kernel hands over at once, at most.
const ROOM: usize = 1 << 17;

/// Sends a request that asks to be confirmed, and waits for the answer, which has the request's number. What else comes before
/// it is passed over.
pub(crate) fn request(socket: &Descriptor, bytes: &[u8], sequence: u32) -> Result<()> {
    sys::send(socket, bytes)?;
    let mut buffer = vec![0; ROOM];
    loop {
        let len = sys::receive(socket, &mut buffer, true)?;
        for message in Messages::new(buffer.get(..len).unwrap_or_default()) {
            match message.report.filter(|_| message.sequence == sequence) {
                Some(0) => return Ok(()),
                Some(number) => return Err(Error::from_raw_os_error(number)),
                None => {}
            }
        }
    }
}
