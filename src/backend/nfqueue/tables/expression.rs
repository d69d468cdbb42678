//! The expressions that rules here consist of.
//!
//! Source: `linux/netfilter/nf_tables.h`, and the older tables' extensions as `nft_compat` takes them.
use super::super::kernel::netlink::Writer;

/// What a rule reads of a packet's circumstances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Meta {
    Length = 0,
    Priority = 2,
    Mark = 3,
    InterfaceIn = 4,
    InterfaceOut = 5,
    Family = 15,
    Protocol = 16,
}

/// A part of a rule.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expression {
    /// Goes on if a number of 32 bits, masked, is this one or, unless `equal`, another one.
    Compare { meta: Meta, mask: u32, value: u32, equal: bool },
    /// Goes on if the packet has more bytes than this.
    IsLonger(u32),
    /// Goes on if the protocol is this one.
    Protocol(u8),
    /// Goes on if the packet is for this host, as far as its destination tells.
    ForThisHost,
    /// Goes on if the packet is an IPv4 fragment.
    Ipv4Fragment,
    /// Goes on if the packet is an IPv6 fragment.
    Ipv6Fragment,
    /// Sets the packet's priority.
    SetPriority(u32),
    /// What asks for IPv6 fragments to be put together before all hooks; it does nothing else.
    Reassembly,
    /// Goes on if an eBPF program accepts the packet.
    Program(i32),
    /// Counts.
    Counter,
    /// Hands the packet to a queue; without a listener it is dropped.
    Queue(u16),
    /// The same by way of the older tables' target, for kernels without the expression.
    QueueTarget(u16),
    /// Copies the packet to a log group, so many at a time.
    Log { group: u16, threshold: u16 },
    /// The same by way of the older tables' target.
    LogTarget { group: u16, threshold: u16 },
    /// Marks the packet with the interface that it leaves by, until [`Self::RestoreMark`].
    MarkInterfaceOut,
    /// Gives the packet the mark back that it had.
    RestoreMark,
    /// Ends the chain; the packet goes on.
    Accept,
    /// Ends the packet.
    Drop,
    /// Keeps connection tracking away.
    NoTrack,
}

/// Register 1, where numbers lie between the parts of a rule.
const REGISTER: u32 = 1;
/// Register 2, where a number stays until the rule's end.
const KEPT: u32 = 2;
/// How a number relates to another one.
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;
const GREATER: u32 = 4;
/// From the machine's order of bytes to the network's.
const TO_NETWORK: u32 = 1;
/// Verdicts.
const DROP: u32 = 0;
pub(super) const ACCEPT: u32 = 1;
/// Families of protocols.
const IPV4: u8 = 2;
const IPV6: u8 = 10;
/// What a look at the routes is to tell, and of what: the kind of the destination. Anything but a single other host is taken
/// for this host.
const ADDRESS_TYPE: u32 = 3;
const DESTINATION: u32 = 2;
const UNICAST: u32 = 1;
/// Where the IPv4 header tells fragments: more fragments, and the offset.
const NETWORK_HEADER: u32 = 1;
const FRAGMENT_OFFSET: u32 = 6;
const FRAGMENT_BITS: [u8; 2] = [0x3F, 0xFF];
/// The IPv6 header that tells fragments, and the question whether there is one.
const FRAGMENT_HEADER: u8 = 44;
const IS_PRESENT: u32 = 1;
/// A Berkeley program that is given by its descriptor, as the match `bpf` takes it in revision 1.
const PROGRAM_INFO_LEN: usize = 528;
const PROGRAM_BY_DESCRIPTOR: u16 = 2;
/// The log target's parameters: length to copy, group, threshold, flags, and room for a prefix.
const LOG_INFO_LEN: usize = 80;
/// How much of a packet is copied: everything.
const LOG_LEN: u32 = 0xFFFF;

impl Expression {
    pub(super) fn write(self, writer: &mut Writer) {
        match self {
            Self::Compare { meta, mask, value, equal } => {
                load(writer, meta);
                if mask != u32::MAX {
                    mask_register(writer, &mask.to_ne_bytes());
                }
                compare(writer, &value.to_ne_bytes(), equal);
            }
            Self::IsLonger(length) => is_longer(writer, length),
            Self::Protocol(protocol) => {
                load(writer, Meta::Protocol);
                compare(writer, &[protocol], true);
            }
            Self::ForThisHost => {
                wrap(writer, "fib", |writer| {
                    writer.put_u32(1, REGISTER);
                    writer.put_u32(2, ADDRESS_TYPE);
                    writer.put_u32(3, DESTINATION);
                });
                compare(writer, &UNICAST.to_ne_bytes(), false);
            }
            Self::Ipv4Fragment => {
                load(writer, Meta::Family);
                compare(writer, &[IPV4], true);
                wrap(writer, "payload", |writer| {
                    writer.put_u32(1, REGISTER);
                    writer.put_u32(2, NETWORK_HEADER);
                    writer.put_u32(3, FRAGMENT_OFFSET);
                    writer.put_u32(4, 2);
                });
                mask_register(writer, &FRAGMENT_BITS);
                compare(writer, &[0; 2], false);
            }
            Self::Ipv6Fragment => {
                load(writer, Meta::Family);
                compare(writer, &[IPV6], true);
                wrap(writer, "exthdr", |writer| {
                    writer.put_u32(1, REGISTER);
                    writer.put(2, &[FRAGMENT_HEADER]);
                    writer.put_u32(3, 0);
                    writer.put_u32(4, 1);
                    writer.put_u32(5, IS_PRESENT);
                });
                compare(writer, &[1], true);
            }
            Self::SetPriority(priority) => {
                number(writer, &priority.to_ne_bytes());
                set(writer, Meta::Priority, REGISTER);
            }
            Self::Reassembly => {
                number(writer, &[0; 2]);
                wrap(writer, "tproxy", |writer| {
                    writer.put_u32(1, IPV6.into());
                    writer.put_u32(3, REGISTER);
                });
            }
            Self::Program(descriptor) => {
                let mut info = PROGRAM_BY_DESCRIPTOR.to_ne_bytes().to_vec();
                info.extend_from_slice(&[0; 2]);
                info.extend_from_slice(&descriptor.to_ne_bytes());
                info.resize(PROGRAM_INFO_LEN, 0);
                older(writer, "match", "bpf", 1, &info);
            }
            Self::Counter => wrap(writer, "counter", |_| {}),
            Self::Queue(number) => wrap(writer, "queue", |writer| {
                writer.put_u16(1, number);
                writer.put_u16(2, 1);
            }),
            Self::QueueTarget(number) => {
                let mut info = number.to_ne_bytes().to_vec();
                info.extend_from_slice(&1_u16.to_ne_bytes());
                info.resize(8, 0);
                older(writer, "target", "NFQUEUE", 3, &info);
            }
            Self::Log { group, threshold } => wrap(writer, "log", |writer| {
                writer.put_u16(1, group);
                writer.put_u32(3, LOG_LEN);
                writer.put_u16(4, threshold);
            }),
            Self::LogTarget { group, threshold } => {
                let mut info = LOG_LEN.to_ne_bytes().to_vec();
                info.extend_from_slice(&group.to_ne_bytes());
                info.extend_from_slice(&threshold.to_ne_bytes());
                // Bit 0: the length counts.
                info.extend_from_slice(&1_u16.to_ne_bytes());
                info.resize(LOG_INFO_LEN, 0);
                older(writer, "target", "NFLOG", 0, &info);
            }
            Self::MarkInterfaceOut => {
                load_into(writer, KEPT, Meta::Mark);
                load(writer, Meta::InterfaceOut);
                set(writer, Meta::Mark, REGISTER);
            }
            Self::RestoreMark => set(writer, Meta::Mark, KEPT),
            Self::Accept => verdict(writer, ACCEPT),
            Self::Drop => verdict(writer, DROP),
            Self::NoTrack => wrap(writer, "notrack", |_| {}),
        }
    }
}

fn wrap(writer: &mut Writer, name: &str, fill: impl FnOnce(&mut Writer)) {
    let element = writer.nest(1);
    writer.put_text(1, name);
    let body = writer.nest(2);
    fill(writer);
    writer.close(body);
    writer.close(element);
}

fn data(writer: &mut Writer, kind: u16, value: &[u8]) {
    let nest = writer.nest(kind);
    writer.put(1, value);
    writer.close(nest);
}

fn load(writer: &mut Writer, meta: Meta) {
    load_into(writer, REGISTER, meta);
}

fn load_into(writer: &mut Writer, register: u32, meta: Meta) {
    wrap(writer, "meta", |writer| {
        writer.put_u32(1, register);
        writer.put_u32(2, meta as u32);
    });
}

/// A register's number into what the packet carries.
fn set(writer: &mut Writer, meta: Meta, register: u32) {
    wrap(writer, "meta", |writer| {
        writer.put_u32(2, meta as u32);
        writer.put_u32(3, register);
    });
}

fn mask_register(writer: &mut Writer, mask: &[u8]) {
    wrap(writer, "bitwise", |writer| {
        writer.put_u32(1, REGISTER);
        writer.put_u32(2, REGISTER);
        writer.put_u32(3, mask.len() as u32);
        data(writer, 4, mask);
        data(writer, 5, &vec![0; mask.len()]);
    });
}

/// A number into the register.
fn number(writer: &mut Writer, value: &[u8]) {
    wrap(writer, "immediate", |writer| {
        writer.put_u32(1, REGISTER);
        data(writer, 2, value);
    });
}

fn compare(writer: &mut Writer, value: &[u8], equal: bool) {
    relate(writer, value, if equal { EQUAL } else { NOT_EQUAL });
}

fn is_longer(writer: &mut Writer, length: u32) {
    load(writer, Meta::Length);
    // Numbers are compared byte by byte.
    wrap(writer, "byteorder", |writer| {
        writer.put_u32(1, REGISTER);
        writer.put_u32(2, REGISTER);
        writer.put_u32(3, TO_NETWORK);
        writer.put_u32(4, 4);
        writer.put_u32(5, 4);
    });
    relate(writer, &length.to_be_bytes(), GREATER);
}

fn relate(writer: &mut Writer, value: &[u8], relation: u32) {
    wrap(writer, "cmp", |writer| {
        writer.put_u32(1, REGISTER);
        writer.put_u32(2, relation);
        data(writer, 3, value);
    });
}

fn verdict(writer: &mut Writer, code: u32) {
    wrap(writer, "immediate", |writer| {
        writer.put_u32(1, 0);
        let value = writer.nest(2);
        let verdict = writer.nest(2);
        writer.put_u32(1, code);
        writer.close(verdict);
        writer.close(value);
    });
}

/// An extension of the older tables.
fn older(writer: &mut Writer, kind: &str, name: &str, revision: u32, info: &[u8]) {
    wrap(writer, kind, |writer| {
        writer.put_text(1, name);
        writer.put_u32(2, revision);
        writer.put(3, info);
    });
}
