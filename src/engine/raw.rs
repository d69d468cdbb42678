//! The driver's calls as programs see them: buffers, lengths in bytes, arrays of address records, and overlapped
//! operations.
//!
//! For programs and tests that need the exact calls; [`Handle`] is faster and safer. What C passes as a null pointer is
//! `None` here. Source: the checks of `WinDivertRecvEx`, `WinDivertSendEx` and their kin, in their order.
use super::Engine;
use super::error::{Error, ErrorCode};
use super::handle::Handle;
use super::inject::well_formed;
use super::options::{OpenOptions, Overload, Wait};
use super::read::{Completion, Read};
use super::send::{Counts, verify_lens, verify_sender};
use super::sync::lock;
use super::wait::Waited;
use crate::address::{ADDRESS_LEN, Address, Flags, Layer, Parameter, Shutdown};
use crate::filter::Filter;
use std::sync::Arc;

/// The most packets of one call.
const BATCH_MAX: usize = 255;
const IPV6_HEADER_LEN: usize = 40;

fn refuse(message: impl Into<String>) -> Error {
    Error::new(ErrorCode::InvalidParameter, message)
}

fn no_access(what: &str) -> Error {
    Error::new(ErrorCode::NoAccess, format!("{what} is missing or too short"))
}

/// A read under way. Given up while it waits, it takes no packet.
pub struct Overlapped {
    handle: Handle,
    read: Arc<Read>,
}

impl Overlapped {
    /// Waits for what the read brings; `None` when the time is out. It is there once.
    pub fn wait(&self, wait: Wait) -> Option<Completion> {
        let shared = self.handle.shared();
        match self.read.bell.wait_for(&shared.state, wait, |_, _| lock(&self.read.completion).take()) {
            Waited::Done(completion) => Some(completion),
            Waited::TimedOut | Waited::Woken => None,
        }
    }

    /// Ends the read with 995 if it still waits; what it brought already stays.
    pub fn cancel(&self) {
        let mut state = self.handle.shared().lock();
        let Some(member) = state.ladders.of(self.handle.layer()).get_mut(self.handle.rank()) else { return };
        if let Some(index) = member.reads.iter().position(|read| Arc::ptr_eq(read, &self.read)) {
            member.reads.remove(index);
            self.read.abort();
        }
    }
}

impl Drop for Overlapped {
    fn drop(&mut self) {
        self.cancel();
    }
}

/// A handle with the driver's calls.
#[derive(Clone)]
pub struct RawHandle {
    handle: Handle,
}

impl RawHandle {
    /// `WinDivertOpen`: 87 for an argument that is wrong, and what the engine refuses handles with.
    pub fn open(engine: &Engine, filter: &str, layer: u32, priority: i64, flags: u64) -> Result<Self, Error> {
        let layer = u8::try_from(layer).ok().and_then(Layer::from_number);
        let layer = layer.ok_or_else(|| refuse("the layer is 0 to 4"))?;
        // Checked in full when the filter is known; here only what comes before the filter.
        let priority = match crate::address::verify_open(layer, Flags(flags), priority) {
            Ok(priority) => priority,
            Err(crate::address::OpenError::Missing(..)) => priority as i16,
            Err(error) => return Err(refuse(error.to_string())),
        };
        let filter = Arc::new(Filter::compile(filter, layer).map_err(|error| refuse(error.to_string()))?);
        let options = OpenOptions {
            filter,
            layer,
            priority,
            flags: Flags(flags),
            on_overload: Overload::Drop,
            track_processes: false,
        };
        Ok(Self { handle: engine.open(options)? })
    }

    /// The same handle, with batches.
    pub const fn handle(&self) -> &Handle {
        &self.handle
    }

    /// `WinDivertRecv`: one packet; its length.
    pub fn recv(&self, buffer: Option<&mut [u8]>, address: Option<&mut Address>) -> Result<usize, Error> {
        self.recv_ex(buffer, 0, address.map(std::slice::from_mut), None)
    }

    /// `WinDivertRecvEx` without an OVERLAPPED: waits for a packet, takes those that fit behind it, and tells how many
    /// bytes they have and, in `addresses_len`, how many bytes their addresses.
    ///
    /// 122, with data and address written as far as they fit, for a packet that is too long; it is gone. 87 for
    /// arguments that are wrong, 998 for memory that is missing.
    pub fn recv_ex(
        &self,
        buffer: Option<&mut [u8]>,
        flags: u64,
        addresses: Option<&mut [Address]>,
        addresses_len: Option<&mut usize>,
    ) -> Result<usize, Error> {
        let capacity =
            verify_read(flags, addresses.as_deref().map(<[Address]>::len), addresses_len.as_deref().copied())?;
        let overlapped = self.start_read(buffer.as_deref().map(<[u8]>::len), capacity)?;
        let completion = loop {
            if let Some(completion) = overlapped.wait(Wait::Forever) {
                break completion;
            }
        };
        if let Some(place) = buffer.and_then(|buffer| buffer.get_mut(..completion.data.len())) {
            place.copy_from_slice(&completion.data);
        }
        for (place, address) in addresses.into_iter().flatten().zip(&completion.addresses) {
            *place = *address;
        }
        if let Some(len) = addresses_len.filter(|_| !completion.addresses.is_empty()) {
            *len = completion.addresses.len() * ADDRESS_LEN;
        }
        completion.error.map_or(Ok(completion.data.len()), Err)
    }

    /// `WinDivertRecvEx` with an OVERLAPPED: the read goes on by itself, into a buffer of `buffer_len` bytes and room
    /// for `addresses_len` bytes of addresses.
    pub fn recv_overlapped(
        &self,
        buffer_len: Option<usize>,
        flags: u64,
        addresses_len: Option<usize>,
    ) -> Result<Overlapped, Error> {
        let capacity = verify_read(flags, addresses_len.map(|len| len / ADDRESS_LEN), addresses_len)?;
        self.start_read(buffer_len, capacity)
    }

    fn start_read(&self, buffer_len: Option<usize>, capacity: usize) -> Result<Overlapped, Error> {
        let mut state = self.handle.shared().lock();
        let now = self.handle.shared().ticker.now();
        let member = state.ladders.of(self.handle.layer()).get_mut(self.handle.rank()).ok_or_else(Error::closed)?;
        if member.flags.has(Flags::SEND_ONLY) {
            return Err(Error::send_only());
        }
        let read = Arc::new(Read::new(buffer_len, capacity.min(BATCH_MAX)));
        member.reads.push_back(Arc::clone(&read));
        member.serve_reads(now);
        drop(state);
        Ok(Overlapped { handle: self.handle.clone(), read })
    }

    /// `WinDivertSend`: one packet, as long as its IP header says; that length.
    pub fn send(&self, data: Option<&[u8]>, address: Option<&Address>) -> Result<usize, Error> {
        self.send_ex(data, 0, address.map(std::slice::from_ref), ADDRESS_LEN)
    }

    /// `WinDivertSendEx` without an OVERLAPPED: as many packets as there are addresses, each as long as its IP header
    /// says; their length together.
    ///
    /// After a failure what was sent before remains sent: all other packets after 1232 (an impostor whose time to live
    /// ran out), those before it after any other code.
    pub fn send_ex(
        &self,
        data: Option<&[u8]>,
        flags: u64,
        addresses: Option<&[Address]>,
        addresses_len: usize,
    ) -> Result<usize, Error> {
        verify_flags(flags)?;
        let count = verify_addresses_len(addresses_len)?;
        let addresses = addresses.ok_or_else(|| refuse("the addresses are missing"))?;
        let addresses = addresses.get(..count).ok_or_else(|| no_access("the array of addresses"))?;
        let shared = self.handle.shared();
        let (layer, rank) = (self.handle.layer(), self.handle.rank());
        let mut state = shared.lock();
        verify_sender(state.ladders.of(layer).get_mut(rank).ok_or_else(Error::closed)?, || count)?;
        let data = data.unwrap_or_default();
        if data.is_empty() {
            return Err(Error::new(ErrorCode::InsufficientBuffer, "there are no bytes to send"));
        }
        let mut way = state.way(layer, rank, shared.ticker.now()).ok_or_else(Error::closed)?;
        let (mut offset, mut sent, mut failure) = (0, 0, None);
        for address in addresses {
            let rest = data.get(offset..).unwrap_or_default();
            let outcome = raw_len(rest).and_then(|len| {
                let packet = rest.get(..len).unwrap_or(rest);
                offset += len;
                way.send_one(&mut way.traveller(), packet, well_formed(packet).as_ref(), address, 0)
            });
            match outcome {
                Ok(()) => sent += 1,
                Err(error) if error.code() == ErrorCode::HostUnreachable => failure = Some(error),
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
        way.count(&Counts { sent, failed: addresses.len() as u64 - sent, ..Counts::default() });
        failure.map_or(Ok(offset), Err)
    }

    /// `WinDivertShutdown`.
    pub fn shutdown(&self, how: u32) -> Result<(), Error> {
        let how = u8::try_from(how).ok().and_then(Shutdown::from_number);
        self.handle.shutdown(how.ok_or_else(|| refuse("shutdown takes 1 (receive), 2 (send) or 3 (both)"))?)
    }

    /// `WinDivertClose`: a second one fails with 6.
    pub fn close(&self) -> Result<(), Error> {
        self.handle.parameter(Parameter::VersionMajor)?;
        self.handle.close();
        Ok(())
    }

    /// `WinDivertGetParam`.
    pub fn param(&self, param: u32) -> Result<u64, Error> {
        self.handle.parameter(parameter_from(param)?)
    }

    /// `WinDivertSetParam`.
    pub fn set_param(&self, param: u32, value: u64) -> Result<(), Error> {
        self.handle.set_parameter(parameter_from(param)?, value)
    }
}

fn parameter_from(number: u32) -> Result<Parameter, Error> {
    let parameter = Parameter::ALL.into_iter().find(|parameter| *parameter as u32 == number);
    parameter.ok_or_else(|| refuse(format!("there is no parameter {number}")))
}

/// The length of the packet that `bytes` begins with, as its IP header says.
fn raw_len(bytes: &[u8]) -> Result<usize, Error> {
    let word = |high: usize, low: usize| Some(usize::from(u16::from_be_bytes([*bytes.get(high)?, *bytes.get(low)?])));
    let total_len = match (bytes.first().map(|byte| byte >> 4), bytes.len()) {
        (Some(4), 20..) => word(2, 3).unwrap_or(0),
        (Some(6), 40..) => word(4, 5).unwrap_or(0) + IPV6_HEADER_LEN,
        (Some(6), 20..) => IPV6_HEADER_LEN,
        (Some(version), 20..) => return Err(refuse(format!("IP version {version} does not exist"))),
        // Too short, whatever it is.
        _ => 0,
    };
    verify_lens(bytes, total_len)?;
    Ok(total_len)
}

fn verify_flags(flags: u64) -> Result<(), Error> {
    if flags == 0 { Ok(()) } else { Err(refuse("no flags are defined for this call; give 0")) }
}

/// How many addresses so many bytes hold.
fn verify_addresses_len(len: usize) -> Result<usize, Error> {
    if (ADDRESS_LEN..=ADDRESS_LEN * BATCH_MAX).contains(&len) {
        return Ok(len / ADDRESS_LEN);
    }
    Err(refuse(format!("the addresses have {len} bytes; 80 to 20400 are possible")))
}

/// How many packets a read may bring. `places` are how many addresses there is room for, if they are wanted.
fn verify_read(flags: u64, places: Option<usize>, addresses_len: Option<usize>) -> Result<usize, Error> {
    verify_flags(flags)?;
    let Some(len) = addresses_len else {
        return if places == Some(0) { Err(no_access("the address")) } else { Ok(1) };
    };
    let capacity = verify_addresses_len(len)?;
    let places = places.ok_or_else(|| refuse("the addresses are missing, and their length is there"))?;
    if places < capacity { Err(no_access("the array of addresses")) } else { Ok(capacity) }
}
