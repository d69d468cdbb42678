//! Programs at a device's egress: by a link where the kernel has them, which is so since Linux 6.6, else by a filter of traffic
//! control.
//!
//! Source: `linux/rtnetlink.h`, `linux/pkt_sched.h`, `linux/pkt_cls.h`. Numbers here are the machine's, except for a protocol's.
use super::netlink::{Writer, flag};
use super::sys::{self, Descriptor};
use super::{exchange, sys_bpf};
use std::io::Result;

/// Numbers of messages.
const NEW_DISCIPLINE: u16 = 36;
const NEW_FILTER: u16 = 44;
/// The place for filters at a device that sends them on as it would without, and the filters' own place at its egress.
const DISCIPLINE: &str = "clsact";
const DISCIPLINE_PARENT: u32 = 0xFFFF_FFF1;
const DISCIPLINE_HANDLE: u32 = 0xFFFF_0000;
const EGRESS: u32 = 0xFFFF_FFF3;
/// The filter's preference, in the upper half, and packets of all protocols, in the network's order.
const PREFERENCE: u32 = 1 << 16;
const ALL_PROTOCOLS: u16 = 3;
/// Attributes of both, and those of a filter that is a program.
const KIND: u16 = 1;
const OPTIONS: u16 = 2;
const PROGRAM: u16 = 6;
const NAME: u16 = 7;
const FLAGS: u16 = 8;
/// What the program answers is done.
const IS_DIRECT: u32 = 1;

/// Attaches a program to what leaves a device, for as long as the descriptor lives, if there is one, or else as the device does.
pub(crate) fn attach(program: &Descriptor, device: i32) -> Result<Option<Descriptor>> {
    match sys_bpf::attach_to_egress(program, device) {
        // There is no such place.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => attach_filter(program, device).map(|()| None),
        outcome => outcome.map(Some),
    }
}

/// Attaches a program as a filter of traffic control.
fn attach_filter(program: &Descriptor, device: i32) -> Result<()> {
    let socket = sys::netlink_of(libc::NETLINK_ROUTE, &[])?;
    ask(&socket, NEW_DISCIPLINE, [device as u32, DISCIPLINE_HANDLE, DISCIPLINE_PARENT, 0], |writer| {
        writer.put_text(KIND, DISCIPLINE);
    })?;
    let info = PREFERENCE | u32::from(ALL_PROTOCOLS.to_be());
    ask(&socket, NEW_FILTER, [device as u32, 0, EGRESS, info], |writer| {
        writer.put_text(KIND, "bpf");
        let options = writer.nest(OPTIONS);
        writer.put(PROGRAM, &program.raw().to_ne_bytes());
        writer.put_text(NAME, "oxidivert");
        writer.put(FLAGS, &IS_DIRECT.to_ne_bytes());
        writer.close(options);
    })
}

/// Asks traffic control for something new, and waits for the answer.
fn ask(socket: &Descriptor, kind: u16, place: [u32; 4], fill: impl FnOnce(&mut Writer)) -> Result<()> {
    let mut writer = Writer::default();
    writer.begin_raw(kind, flag::ACK | flag::CREATE | flag::EXCLUSIVE, 0, 0, 0);
    for number in place {
        writer.put_raw(&number.to_ne_bytes());
    }
    fill(&mut writer);
    writer.finish();
    exchange::request(socket, writer.bytes(), 0)
}
