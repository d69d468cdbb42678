//! Packets that no message of the queue takes whole, and no verdict gives back whole: their sender is told to send shorter ones.
//!
//! That is what a router does before a link with a smaller MTU (RFC 1191, RFC 8201), and only TCP on this host is told: it cuts
//! anew what it has sent and sends it again, so that nothing is lost, and remembers the path's MTU for ten minutes. On
//! loopback, whose MTU is 65,536, every bulk transfer would else consist of packets whose last bytes are missing. Who does
//! not heed it is not told again for a while, and has its packets handed over as they are.
use super::super::injection::carrier::{Carriers, Way};
use super::super::intake::queue::PAYLOAD_MAX;
use crate::address::Layer;
use crate::batch::PacketRef;
use crate::engine::TICKS_PER_SECOND;
use crate::packet::{Builder, Endpoint, FlowKey, IpVersion, Transport, read_addr};
use std::collections::HashMap;
use std::net::IpAddr;

/// How long a sender may need to heed it, in ticks.
const GRACE: i64 = TICKS_PER_SECOND;
/// How long one that does not is let be, in ticks. It is as long as the kernel remembers a path's MTU.
const PEACE: i64 = 600 * TICKS_PER_SECOND;
/// How often it is told meanwhile, in ticks.
const PAUSE: i64 = TICKS_PER_SECOND / 100;
/// So many flows are kept at most.
const FLOWS_MAX: usize = 1024;
/// How much of a packet is quoted: all of its headers, of those that are common.
const QUOTE_LEN: usize = 200;
/// "Destination unreachable", code "fragmentation needed", and ICMPv6's "packet too big".
const UNREACHABLE: u8 = 3;
const FRAGMENTATION_NEEDED: u8 = 4;
const TOO_BIG: u8 = 2;

/// When the sender of a flow was told, in ticks.
#[derive(Clone, Copy, Debug)]
struct Told {
    first: i64,
    last: i64,
}

/// The flows whose senders were told.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    flows: HashMap<FlowKey, Told>,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// It is dropped, and the sender told.
    Tell,
    /// It is dropped; the sender was told just now.
    Drop,
    /// It is handed over.
    Keep,
}

impl Refusals {
    /// Whether a packet that did not come whole is refused; then its sender is told, by one of the handle's new packets.
    pub(super) fn refuses(&mut self, packet: PacketRef<'_>, carriers: &mut Carriers, now: i64) -> bool {
        let address = packet.address;
        let is_sent_here = address.layer() == Some(Layer::Network) && address.outbound();
        if !is_sent_here || !may_be_refused(packet) {
            return false;
        }
        let Some(flow) = FlowKey::of(packet.bytes, packet.layout) else { return false };
        match self.answer(flow, now) {
            Answer::Tell => message(packet).is_some_and(|message| carriers.launch(&message, Way::Out).is_ok()),
            Answer::Drop => true,
            Answer::Keep => false,
        }
    }

    fn answer(&mut self, flow: FlowKey, now: i64) -> Answer {
        if self.flows.len() >= FLOWS_MAX && !self.flows.contains_key(&flow) {
            self.flows.retain(|_, told| now - told.first < PEACE);
            if self.flows.len() >= FLOWS_MAX {
                return Answer::Keep;
            }
        }
        let told = self.flows.entry(flow).or_insert(Told { first: now, last: now - PAUSE });
        if now - told.first >= PEACE {
            *told = Told { first: now, last: now - PAUSE };
        }
        if now - told.first >= GRACE {
            return Answer::Keep;
        }
        if now - told.last < PAUSE {
            return Answer::Drop;
        }
        told.last = now;
        Answer::Tell
    }
}

/// What tells the sender.
fn message(packet: PacketRef<'_>) -> Option<Vec<u8>> {
    let PacketRef { bytes, layout, .. } = packet;
    let (src, dst) = (read_addr(bytes, layout, Endpoint::Source)?, read_addr(bytes, layout, Endpoint::Destination)?);
    let quote = bytes.get(..QUOTE_LEN).unwrap_or(bytes);
    let most = PAYLOAD_MAX as u32;
    let builder = match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => Builder::ipv4(dst, src).icmp(UNREACHABLE, FRAGMENTATION_NEEDED, most),
        (IpAddr::V6(src), IpAddr::V6(dst)) => Builder::ipv6(dst, src).icmp(TOO_BIG, 0, most),
        _ => return None,
    };
    builder.payload(quote).build().ok()
}

/// Whether the sender can be asked to send shorter packets: not that of a fragment, nor of one that may be fragmented.
fn may_be_refused(packet: PacketRef<'_>) -> bool {
    let PacketRef { bytes, layout, .. } = packet;
    let is_fixed = layout.version() == IpVersion::V6 || bytes.get(6).is_some_and(|byte| byte & 0x40 != 0);
    layout.transport() == Some(Transport::Tcp) && !layout.is_fragment() && is_fixed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_is_told_for_a_while_and_then_let_be() {
        let mut refusals = Refusals::default();
        let end = |port| (IpAddr::from([127, 0, 0, 1]), port);
        let flow = |port| FlowKey::between(6, end(port), end(1));
        assert_eq!(refusals.answer(flow(2), 5), Answer::Tell);
        assert_eq!(refusals.answer(flow(2), 5), Answer::Drop);
        assert_eq!(refusals.answer(flow(3), 5), Answer::Tell);
        assert_eq!(refusals.answer(flow(2), 5 + PAUSE), Answer::Tell);
        assert_eq!(refusals.answer(flow(2), 5 + GRACE), Answer::Keep);
        assert_eq!(refusals.answer(flow(2), 5 + PEACE - 1), Answer::Keep);
        assert_eq!(refusals.answer(flow(2), 5 + PEACE), Answer::Tell);
        for port in 4..4 + FLOWS_MAX as u16 {
            refusals.answer(flow(port), 6 + PEACE);
        }
        assert_eq!(refusals.flows.len(), FLOWS_MAX);
        assert_eq!(refusals.answer(flow(5000), 7 + PEACE), Answer::Keep);
        assert_eq!(refusals.answer(flow(5000), 6 + 2 * PEACE), Answer::Tell);
    }
}
