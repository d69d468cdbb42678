//! A filter as an eBPF program, which a kernel asks about each packet before anything is copied. Pure: nothing here touches a
//! system. Never panics.
//!
//! The program is of the type that socket filters have: register 1 points to the packet's context, packet bytes are read from
//! the IP header on, and any answer but 0 means a match. It reads the headers as the parser does, refuses what is no whole IP
//! packet, and then asks the filter's questions in the order in which the filter's own program does.
//!
//! What a kernel cannot know (a timestamp, the packet's hash, the interface) and what would be too large (sets
//! of very many ranges) is answered so that nothing which matches is missed: the program then lets more through, and says so.
//!
//! | field | in the kernel |
//! | --- | --- |
//! | headers, payload, lengths, protocol, fragment | as here |
//! | direction | known where the program is put: there is one for each |
//! | loopback | likewise, or unknown |
//! | ifIdx | known where there is a program for each interface that the filter names, else unknown |
//! | timestamp, random8, random16, random32 | unknown |
//! | sets of more than 1,000 ranges | their largest gaps |
//!
//! Of packets that the kernel cuts into segments before it hands them over, a program can only be asked before that. What
//! segments do not have in common is unknown to it: lengths (but that there is a payload), the IPv4 identification and the
//! IPv6 next header, sequence numbers, the TCP flags FIN, PSH and CWR, checksums, and bytes.
mod code;
mod head;
mod interface;
mod listing;
mod load;
mod node;
#[cfg(test)]
mod tests;

use super::optimise::decide;
use super::program::{Class, end};
use super::{Filter, Shared};
pub(crate) use code::Label as CodeLabel;
pub(crate) use code::{Arithmetic, Assembler, Relation};
use code::{Label, Register};
pub use interface::OfInterface;
pub(crate) use load::EventPlaces;
use load::{Loader, known_of_event};
use node::Nodes;

/// The side of this host's stack that a program is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Vantage {
    /// The packets go out, or through.
    pub outbound: bool,
    /// Whether they stay within this host; `None` if that differs.
    pub loopback: Option<bool>,
    /// The interface that they come in at or go out by; `None` if that differs.
    pub interface: Option<u32>,
    /// How long they are.
    pub extent: Extent,
}

/// How long the packets are that a program is made for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Extent {
    /// As long as their headers say.
    #[default]
    Any,
    /// Likewise, and at most so many bytes: longer ones do not match.
    AtMost(u32),
    /// Too long to be handed over in one piece, and perhaps for their headers to say. What is asked for is whether one of the
    /// segments matches that they are cut into, or they themselves: the program tells a yes where segments may differ.
    Large,
}

impl Vantage {
    /// The packets of one direction, by any interface, of any length.
    pub const fn new(outbound: bool, loopback: Option<bool>) -> Self {
        Self { outbound, loopback, interface: None, extent: Extent::Any }
    }
}

/// What a program does beside asking the filter.
pub(crate) struct Deed<'a> {
    /// Writes what comes first, when register 1 is the context, which it leaves alone.
    pub(crate) first: &'a dyn Fn(&mut Assembler),
    /// Writes what is done with a packet that matches. It goes on behind, or at the label.
    pub(crate) then: &'a dyn Fn(&mut Assembler, &Matched),
}

/// What a program has of a packet that matches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matched {
    /// The register of the context.
    pub(crate) context: Register,
    /// The register of the packet's length, which is at least 20.
    pub(crate) length: Register,
    /// A register that calls leave alone and that nothing is in.
    pub(crate) free: Register,
    /// Where the program goes on.
    pub(crate) done: Label,
}

/// A filter's program for one side of the stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ebpf {
    code: Vec<u64>,
    is_exact: bool,
    is_empty: bool,
}

impl Ebpf {
    /// The instructions, eight bytes each, as the kernel takes them.
    pub fn code(&self) -> &[u64] {
        &self.code
    }

    /// Whether the program matches exactly what the filter does, and not more.
    pub const fn is_exact(&self) -> bool {
        self.is_exact
    }

    /// Whether it matches nothing at all.
    pub const fn is_empty(&self) -> bool {
        self.is_empty
    }
}

/// Too many instructions for a kernel's jumps.
const INSTRUCTIONS_MAX: usize = 30_000;
/// Ranges of one set that are looked through, and of all if that proves too many.
const RANGES_MAX: usize = 1000;
const FEW_RANGES: usize = 32;

impl Filter {
    /// The program of a filter of packets; `None` for other layers, and if even the simplest form is too large.
    ///
    /// ```
    /// use oxidivert::address::Layer;
    /// use oxidivert::filter::{Filter, Vantage};
    ///
    /// let filter = Filter::compile("tcp.DstPort == 80 and random8 < 128", Layer::Network)?;
    /// let program = filter.ebpf(Vantage::new(true, None)).unwrap();
    /// assert!(!program.is_exact());
    /// # Ok::<(), oxidivert::filter::Error>(())
    /// ```
    pub fn ebpf(&self, vantage: Vantage) -> Option<Ebpf> {
        self.ebpf_with(vantage, None)
    }

    /// Writes the filter's questions about an outbound event of a socket: the program goes on at `accept` or `reject`, which the
    /// caller places behind. Whether they are exact.
    pub(crate) fn ask_event(&self, assembler: &mut Assembler, places: &EventPlaces) -> (bool, CodeLabel, CodeLabel) {
        let Shared { tests, sets, layer, .. } = &*self.shared;
        let (nodes, entries) = decide(tests, sets, *layer);
        let outbound = Class::index(true, false, None);
        let entry = entries.get(outbound).copied().unwrap_or(end::REJECT);
        let mut nodes = Nodes::new(&nodes, Loader::Event(places), RANGES_MAX, assembler);
        let label = nodes.label(entry);
        assembler.jump(label);
        nodes.write(assembler, [entry].into_iter());
        (nodes.is_exact(), nodes.accept(), nodes.reject())
    }

    /// Whether the filter may match packets of a direction and an IP version.
    #[cfg(target_os = "linux")]
    pub(crate) fn may_match_packets(&self, outbound: bool, ipv6: bool) -> bool {
        let Shared { tests, sets, layer, .. } = &*self.shared;
        let (_, entries) = decide(tests, sets, *layer);
        let is_meant = |class: Class| class.outbound == outbound && class.ipv6 == ipv6;
        (0..).zip(entries).any(|(index, entry)| is_meant(Class::from_index(index)) && entry != end::REJECT)
    }

    /// Whether the filter may match an event of this number, whatever else the event tells.
    pub(crate) fn may_match_event(&self, event: u8, outbound: bool) -> bool {
        let Shared { tests, sets, layer, .. } = &*self.shared;
        let (nodes, entries) = decide(tests, sets, *layer);
        let mut is_met = vec![false; nodes.len()];
        let mut waiting = vec![entries.get(Class::index(outbound, false, None)).copied().unwrap_or(end::REJECT)];
        while let Some(edge) = waiting.pop() {
            if edge == end::ACCEPT {
                return true;
            }
            let (Some(node), Some(is_met)) = (nodes.get(usize::from(edge)), is_met.get_mut(usize::from(edge))) else {
                continue;
            };
            if std::mem::replace(is_met, true) {
                continue;
            }
            match known_of_event(node.place, event) {
                Some(value) if node.accepted.contains(value.into()) => waiting.push(node.success),
                Some(_) => waiting.push(node.failure),
                None => waiting.extend([node.success, node.failure]),
            }
        }
        false
    }

    /// The program of a filter of packets; with a deed it does that with what matches, and answers 1 to everything. `None` as
    /// for [`Filter::ebpf`].
    pub(crate) fn ebpf_with(&self, vantage: Vantage, deed: Option<&Deed<'_>>) -> Option<Ebpf> {
        if !self.layer().has_packets() {
            return None;
        }
        [RANGES_MAX, FEW_RANGES, 1].into_iter().find_map(|ranges| self.ebpf_within(vantage, ranges, deed))
    }

    fn ebpf_within(&self, vantage: Vantage, ranges_max: usize, deed: Option<&Deed<'_>>) -> Option<Ebpf> {
        let Shared { tests, sets, layer, .. } = &*self.shared;
        let (nodes, entries) = decide(tests, sets, *layer);
        let mut assembler = Assembler::new();
        let mut nodes = Nodes::new(&nodes, Loader::Packet(vantage), ranges_max, &mut assembler);
        let of_direction = |index: &usize| Class::from_index(*index).outbound == vantage.outbound;
        let classes: Vec<usize> = (0..Class::COUNT).filter(of_direction).collect();
        let goals: Vec<(usize, Label)> = classes
            .iter()
            .map(|index| {
                let entry = entries.get(*index).copied().unwrap_or(end::REJECT);
                (*index, nodes.label(entry))
            })
            .collect();
        let is_empty = goals.iter().all(|(_, label)| *label == nodes.reject());
        if let Some(deed) = deed {
            (deed.first)(&mut assembler);
        }
        head::write(&mut assembler, vantage.extent, &goals, nodes.accept(), nodes.reject());
        nodes.write(&mut assembler, classes.iter().filter_map(|index| entries.get(*index).copied()));
        let is_exact = nodes.is_exact();
        match deed {
            Some(deed) => nodes.write_deed(&mut assembler, deed),
            None => nodes.write_ends(&mut assembler),
        }
        let code = assembler.finish().filter(|code| code.len() <= INSTRUCTIONS_MAX)?;
        Some(Ebpf { code, is_exact, is_empty })
    }
}
