//! Packets that handles send: length checks, checksum repair, the rule for impostors, and their way down from the
//! sender.
//!
//! Source: the driver's order of checks on Send. The caller's bytes are never changed; a packet that needs no repair is
//! not copied.
use super::chain::Exit;
use super::error::{Error, ErrorCode};
use super::host::Host;
use super::member::Member;
use super::options::{Mask, SendError};
use super::priority::Ladder;
use super::traveller::{Fragments, Traveller};
use crate::address::{Address, Flags, Layer};
use crate::batch::{Batch, Origin, Record};
use crate::packet::{self, Layout, Transport, skip};

/// The smallest IP header.
const SMALLEST_LEN: usize = 20;
/// The interface of a packet whose address names none.
const DEFAULT_INTERFACE: u32 = 1;

/// Everything that a packet meets once it is sent.
pub(super) struct Way<'a> {
    pub(super) ladder: &'a mut Ladder<Member>,
    pub(super) exit: &'a mut Exit,
    pub(super) host: &'a Host,
    /// Bytes that are repaired; used again by every packet.
    pub(super) scratch: &'a mut Vec<u8>,
    /// Where the first handle below the sender is.
    pub(super) from: usize,
    /// What the addresses of all that is sent have in common.
    pub(super) address: Address,
}

/// What handles see in the addresses of all packets that are sent at `now`, whatever their senders' addresses say.
pub(super) fn sent_address(layer: Layer, now: i64) -> Address {
    let mut address = Address::default();
    address.set_timestamp(now);
    address.set_layer(layer);
    address.set_ip_checksum(true);
    address.set_tcp_checksum(true);
    address.set_udp_checksum(true);
    address
}

/// What a batch did that was sent, for the statistics.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) sent: u64,
    pub(super) modified: u64,
    pub(super) re_injected: u64,
    pub(super) failed: u64,
}

/// Whether a handle may send.
pub(crate) fn verify_sending(has_ended: bool, flags: Flags, layer: Layer) -> Result<(), Error> {
    if has_ended {
        return Err(Error::new(ErrorCode::NoData, "sending was shut down on this handle"));
    }
    if flags.has(Flags::RECV_ONLY) {
        return Err(Error::new(ErrorCode::InvalidParameter, "a handle opened with RECV_ONLY does not send"));
    }
    if layer.has_packets() {
        return Ok(());
    }
    let message = format!("layer {} has no packets to send", layer.name());
    Err(Error::new(ErrorCode::InvalidParameter, message))
}

/// Whether a handle may send; if not, its packets, `count` of them, count as errors.
#[inline]
pub(super) fn verify_sender(member: &mut Member, count: impl FnOnce() -> usize) -> Result<(), Error> {
    verify_sending(member.has_ended_sending, member.flags, member.layer)
        .inspect_err(|_| member.statistics.errors += count() as u64)
}

impl Way<'_> {
    /// Sends the packets of a batch that `mask` selects. A hard error ends it; what the stack refuses is left out, and
    /// told at the end.
    pub(super) fn send(&mut self, batch: &Batch, mask: Mask<'_>) -> Result<usize, SendError> {
        let mut counts = Counts::default();
        let mut failure = None;
        // One for all packets, of which each changes little.
        let mut traveller = self.traveller();
        for (index, record) in batch.records().iter().enumerate() {
            if mask.is_some_and(|mask| mask.get(index) != Some(&true)) {
                continue;
            }
            let bytes = batch.bytes(index).unwrap_or_default();
            match self.send_record(&mut traveller, record, bytes) {
                Ok(()) => {
                    counts.sent += 1;
                    counts.modified += u64::from(record.changed);
                    counts.re_injected += u64::from(matches!(record.origin, Origin::Received(_)));
                }
                Err(error) => {
                    counts.failed += 1;
                    let is_hard = error.code() != ErrorCode::HostUnreachable;
                    failure = Some(error);
                    if is_hard {
                        break;
                    }
                }
            }
        }
        self.count(&counts);
        match failure {
            None => Ok(counts.sent as usize),
            Some(error) => Err(SendError { sent: counts.sent as usize, error }),
        }
    }

    pub(super) fn count(&mut self, counts: &Counts) {
        let sender = self.from.checked_sub(1).and_then(|index| self.ladder.at_mut(index));
        if let Some(sender) = sender {
            sender.statistics.sent += counts.sent;
            sender.statistics.modified += counts.modified;
            sender.statistics.errors += counts.failed;
            sender.in_hand = sender.in_hand.saturating_sub(counts.re_injected);
        }
    }

    #[inline(always)]
    fn send_record<'a>(
        &mut self,
        traveller: &mut Traveller<'a>,
        record: &'a Record,
        bytes: &'a [u8],
    ) -> Result<(), Error> {
        let Record { layout, address, process_id, .. } = record;
        verify_lens(bytes, layout.total_len())?;
        if layout.is_extended() {
            let whole = bytes.get(..layout.total_len()).unwrap_or(bytes);
            return self.send_one(&mut self.traveller(), whole, Some(&layout.without_rest()), address, *process_id);
        }
        self.send_one(traveller, bytes, Some(layout), address, *process_id)
    }

    /// Sends a packet of the right length, as a traveller of this way. Nothing is known of one whose offset table is
    /// missing, so that no handle sees it.
    #[inline(always)]
    pub(super) fn send_one<'a>(
        &mut self,
        traveller: &mut Traveller<'a>,
        bytes: &'a [u8],
        layout: Option<&'a Layout>,
        address: &Address,
        process_id: u32,
    ) -> Result<(), Error> {
        if needs_work(layout, address) {
            return self.send_repaired(bytes, layout, address, process_id);
        }
        self.set_out(traveller, bytes, layout, address, process_id);
        self.ladder.descend(self.from, traveller, self.exit);
        Ok(())
    }

    #[inline(never)]
    fn send_repaired(
        &mut self,
        bytes: &[u8],
        layout: Option<&Layout>,
        address: &Address,
        process_id: u32,
    ) -> Result<(), Error> {
        let mut scratch = std::mem::take(self.scratch);
        scratch.clear();
        scratch.extend_from_slice(bytes);
        let outcome = repair(&mut scratch, layout, address).map(|computed| {
            if let Some(sender) = self.from.checked_sub(1).and_then(|index| self.ladder.at_mut(index)) {
                sender.statistics.checksums_computed += computed;
            }
            let mut traveller = self.traveller();
            self.set_out(&mut traveller, &scratch, layout, address, process_id);
            self.ladder.descend(self.from, &traveller, self.exit);
        });
        *self.scratch = scratch;
        outcome
    }

    /// A packet about to be sent of which nothing is known yet.
    pub(super) const fn traveller<'a>(&self) -> Traveller<'a> {
        Traveller { bytes: &[], layout: None, address: self.address, fragments: Fragments::Any, process_id: 0 }
    }

    /// Makes the packet one that the handles below see: of what its sender's address says, only direction and interface
    /// count.
    #[inline(always)]
    fn set_out<'a>(
        &self,
        traveller: &mut Traveller<'a>,
        bytes: &'a [u8],
        layout: Option<&'a Layout>,
        given: &Address,
        process_id: u32,
    ) {
        let is_forwarded = self.address.raw_layer() == Layer::NetworkForward.number();
        let stays = !is_forwarded && layout.is_some_and(|layout| self.host.keeps(bytes, layout));
        let Traveller { address, .. } = traveller;
        address.set_outbound(is_forwarded || given.outbound());
        address.set_loopback(stays);
        address.set_ipv6(bytes.first().is_some_and(|byte| byte >> 4 == 6));
        address.set_interface_index(match given.interface_index() {
            0 => DEFAULT_INTERFACE,
            index => index,
        });
        address.set_subinterface_index(if is_forwarded { 0 } else { given.subinterface_index() });
        traveller.bytes = bytes;
        traveller.process_id = process_id;
        traveller.show(layout, false);
    }
}

/// Refuses bytes that are shorter than they claim, or claim too little.
#[inline]
pub(crate) fn verify_lens(bytes: &[u8], total_len: usize) -> Result<(), Error> {
    let is_whole = SMALLEST_LEN <= total_len && total_len <= bytes.len();
    if is_whole { Ok(()) } else { Err(wrong_lens(bytes.len(), total_len)) }
}

#[cold]
#[inline(never)]
fn wrong_lens(len: usize, total_len: usize) -> Error {
    if len < SMALLEST_LEN {
        let message = format!("a packet has at least {SMALLEST_LEN} bytes, this one has {len}");
        return Error::new(ErrorCode::InsufficientBuffer, message);
    }
    if total_len < SMALLEST_LEN {
        let message = format!("the IP header claims a length of {total_len}, less than that of a header");
        return Error::new(ErrorCode::InvalidParameter, message);
    }
    let message = format!("the packet has {len} bytes, its IP header claims {total_len}");
    Error::new(ErrorCode::InsufficientBuffer, message)
}

/// Whether a packet must be changed before it goes out.
#[inline]
fn needs_work(layout: Option<&Layout>, address: &Address) -> bool {
    address.impostor() || open_checksums(layout, address)
}

/// Whether a header is there whose checksum the address leaves open.
#[inline]
fn open_checksums(layout: Option<&Layout>, address: &Address) -> bool {
    let Some(layout) = layout else { return false };
    let is_open = match layout.transport() {
        Some(Transport::Tcp) => !address.tcp_checksum(),
        Some(Transport::Udp) => !address.udp_checksum(),
        _ => false,
    };
    is_open || !layout.is_ipv6() && !address.ip_checksum()
}

/// Computes the checksums that the address leaves open (never those of ICMP), and takes one hop off an impostor. How
/// many were computed; an impostor whose time to live ran out is refused.
pub(crate) fn repair(bytes: &mut [u8], layout: Option<&Layout>, address: &Address) -> Result<u64, Error> {
    let mut computed = 0;
    if let Some(layout) = layout.filter(|layout| open_checksums(Some(layout), address)) {
        let mut skipped = skip::ICMP | skip::ICMPV6;
        for (is_final, flag) in [
            (address.ip_checksum(), skip::IP),
            (address.tcp_checksum(), skip::TCP),
            (address.udp_checksum(), skip::UDP),
        ] {
            skipped |= if is_final { flag } else { 0 };
        }
        let filled = packet::fill_checksums_with(bytes, layout, skipped);
        computed = u64::from(filled.ip) + u64::from(filled.tcp) + u64::from(filled.udp);
    }
    if address.impostor() && !packet::decrement_ttl(bytes) {
        return Err(Error::new(ErrorCode::HostUnreachable, "the time to live of a packet marked impostor ran out"));
    }
    Ok(computed)
}
