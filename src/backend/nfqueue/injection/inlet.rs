//! The way into the stack: packets that come in at an interface though nobody sent them there.
//!
//! A TAP device of the process's own takes what is to come in; a program at its end hands each packet over to the interface
//! that the socket's priority names, where it arrives as if from the wire. The device and the program go with their
//! descriptors.
use super::super::kernel::fault::{fault, program_fault};
use super::super::kernel::sys::{self, Descriptor};
use super::super::kernel::{egress, sys_bpf, sys_link};
use crate::engine::{Error, ErrorCode};
use crate::packet::field::array;
use std::io::Result;

/// What of an interface's name the kernel numbers.
const NAME: &[u8] = b"oxd%d";
/// The Ethernet header, without which the device takes nothing.
const ETHERNET_LEN: usize = 14;
const TYPE_IPV4: u16 = 0x0800;
const TYPE_IPV6: u16 = 0x86DD;

/// The instructions: drop what has no priority, for it is the kernel's own; else take the priority as the interface's number,
/// clear it, and hand the packet over to that interface's ingress.
const PROGRAM: [u64; 11] = [
    // r6 = r1
    0x0000_0000_0000_16BF,
    // w7 = *(u32 *)(r6 + 32)
    0x0000_0000_0020_6761,
    // if w7 == 0 goto drop
    0x0000_0000_0006_0716,
    // w1 = 0
    0x0000_0000_0000_01B4,
    // *(u32 *)(r6 + 32) = r1
    0x0000_0000_0020_1663,
    // r1 = r7
    0x0000_0000_0000_71BF,
    // w2 = ingress
    0x0000_0001_0000_02B4,
    // call redirect
    0x0000_0017_0000_0085,
    // exit
    0x0000_0000_0000_0095,
    // drop: w0 = 2
    0x0000_0002_0000_00B4,
    // exit
    0x0000_0000_0000_0095,
];

/// A TAP device that leads to other interfaces' ingress.
#[derive(Debug)]
pub(super) struct Inlet {
    _device: Descriptor,
    /// What holds the program at its place; none, where the device itself does.
    _link: Option<Descriptor>,
    socket: Descriptor,
    index: i32,
    /// The interface that the socket's priority names.
    target: u32,
    address: [u8; 6],
    frame: Vec<u8>,
}

impl Inlet {
    /// Makes the device, whose packets have this mark.
    pub(super) fn open(mark: u32) -> std::result::Result<Self, Error> {
        let (device, name) = sys_link::tap_device(NAME).map_err(|error| fault("making a TAP device", error))?;
        let made = || -> Result<(i32, Option<Descriptor>, Descriptor)> {
            let text = String::from_utf8_lossy(&name).into_owned();
            // Without IPv6 there is nothing to be turned off.
            drop(std::fs::write(format!("/proc/sys/net/ipv6/conf/{text}/disable_ipv6"), "1"));
            let socket = sys::socket(libc::AF_PACKET, libc::SOCK_RAW, 0)?;
            sys::set_option(&socket, libc::SOL_SOCKET, libc::SO_MARK, mark as i32)?;
            sys::set_send_buffer(&socket, 1 << 22);
            let index = sys_link::interface_index(&socket, &name)?;
            sys_link::set_interface_up(&socket, &name)?;
            let program = sys_bpf::load_program(sys_bpf::SCHEDULER_CLASSIFIER, 0, &PROGRAM)?;
            let link = egress::attach(&program, index)?;
            Ok((index, link, socket))
        };
        let (index, link, socket) = made().map_err(|error| program_fault("preparing a TAP device", error))?;
        Ok(Self { _device: device, _link: link, socket, index, target: 0, address: [0; 6], frame: Vec::new() })
    }

    /// Has a packet come in at an interface.
    pub(super) fn send(&mut self, packet: &[u8], interface: u32) -> std::result::Result<(), Error> {
        if self.target != interface {
            self.aim(interface).map_err(|error| {
                let message = format!("there is no interface {interface} that a packet could come in at");
                Error::from_io(ErrorCode::InvalidParameter, message, error)
            })?;
        }
        let kind = if packet.first().is_some_and(|byte| byte >> 4 == 6) { TYPE_IPV6 } else { TYPE_IPV4 };
        self.frame.clear();
        self.frame.extend_from_slice(&self.address);
        self.frame.resize(ETHERNET_LEN - 2, 0);
        self.frame.extend_from_slice(&kind.to_be_bytes());
        self.frame.extend_from_slice(packet);
        let address = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: kind.to_be(),
            sll_ifindex: self.index,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 6,
            sll_addr: [0; 8],
        };
        sys::send_to(&self.socket, &self.frame, &address).map(|_| ()).map_err(|error| {
            Error::from_io(ErrorCode::DataNotAccepted, "the TAP device did not take the packet", error)
        })
    }

    fn aim(&mut self, interface: u32) -> Result<()> {
        self.address = sys_link::hardware_address(&self.socket, interface)?;
        sys::set_option(&self.socket, libc::SOL_SOCKET, libc::SO_PRIORITY, interface as i32)?;
        self.target = interface;
        Ok(())
    }
}

/// Whether an interface is needed that is not loopback: what goes to this host's own loopback addresses comes in nowhere.
pub(super) fn is_for_loopback(packet: &[u8]) -> bool {
    match packet.first().map(|byte| byte >> 4) {
        Some(4) => array::<1>(packet, 16) == Some([127]),
        _ => array::<16>(packet, 24) == Some(std::net::Ipv6Addr::LOCALHOST.octets()),
    }
}
