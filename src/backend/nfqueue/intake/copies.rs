//! Copies of packets by the filter's own eBPF program: it writes what matches to a ring buffer, and the original goes on.
//!
//! | record | bytes |
//! | --- | --- |
//! | time since boot, in nanoseconds | 0 to 7 |
//! | interface inbound, or 0 | 8 to 11 |
//! | interface outbound, or 0 | 12 to 15 |
//! | length of the packet | 16 to 19 |
//! | hook | 20 to 23 |
//! | the packet | from 24 on |
//!
//! Numbers are in the machine's order. A record has one of a few lengths, since the kernel has to know them beforehand; what
//! is behind the packet means nothing.
use super::super::injection::carrier;
use super::super::kernel::ring::Ring;
use super::super::kernel::sys::{self, Descriptor};
use super::super::kernel::sys_bpf::{self, LOAD_BYTES};
use super::super::tables::nft::Hook;
use super::arrival::LOOPBACK;
use super::queue::{Waiting, hook_of};
use crate::filter::{Arithmetic, Assembler, Matched, Relation};
use crate::packet::field::array;
use std::io::{Error, ErrorKind, Result};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Bytes of the ring: what comes while nobody looks.
const RING_LEN: usize = 1 << 24;
/// Lengths of records. The last one takes the largest packet.
const LENGTHS: [u32; 12] = [128, 256, 512, 1024, 1536, 2048, 4096, 8192, 16384, 32768, 49152, 65600];
/// Where the parts of a record lie.
const TIME: i16 = 0;
const INTERFACE_IN: i16 = 8;
const INTERFACE_OUT: i16 = 12;
const LENGTH: i16 = 16;
const HOOK: i16 = 20;
const PACKET: u32 = 24;

/// Where a context has them.
const CONTEXT_MARK: i16 = 8;
const CONTEXT_INTERFACE: i16 = 40;
/// Helper functions.
const TIME_SINCE_BOOT: u32 = 125;
const RESERVE: u32 = 131;
const SUBMIT: u32 = 132;
const DISCARD: u32 = 133;
/// A map that is an array, and the length of its number and its value.
const ARRAY: u32 = 2;

/// If packets came at most so long ago, in nanoseconds, they come in a stream.
const STREAM: i64 = 2_000_000;
/// How long a stream is left to gather, so that the sender need not wake the program for each packet.
const PAUSE: Duration = Duration::from_millis(1);
/// Readings of two clocks so close together, in nanoseconds, are taken for one moment.
const MOMENT: i64 = 50_000;
/// How often a moment is looked for at first.
const TRIES: usize = 100;

/// What tells a process to have copies made by the packet log, whatever the kernel can.
const CHOICE: &str = "OXIDIVERT_SNIFF";
const BY_LOG: &str = "log";

/// The ring, and what is counted that did not fit.
#[derive(Debug)]
pub(crate) struct Copies {
    /// Whoever reads has it alone.
    ring: Mutex<Ring>,
    /// The ring's; can be read while there are copies.
    pub(crate) descriptor: Arc<Descriptor>,
    lost: Descriptor,
    /// Copies come by the log as well.
    is_partial: AtomicBool,
    /// When the last wait ended, in nanoseconds since boot.
    ended: AtomicI64,
    /// The Unix epoch's time at boot, in nanoseconds.
    boot: AtomicI64,
}

impl Copies {
    /// Makes the ring, unless the process is told to do without.
    pub(crate) fn open() -> Result<Self> {
        if std::env::var_os(CHOICE).is_some_and(|choice| choice == BY_LOG) {
            return Err(Error::from(ErrorKind::Unsupported));
        }
        let ring = Ring::new(RING_LEN)?;
        let lost = sys_bpf::make_map(ARRAY, 4, 8, 1)?;
        let boot = (0..TRIES).find_map(|_| boot_time()).ok_or(ErrorKind::TimedOut)?;
        let descriptor = Arc::clone(&ring.descriptor);
        let ring = Mutex::new(ring);
        Ok(Self { ring, descriptor, lost, is_partial: false.into(), ended: 0.into(), boot: boot.into() })
    }

    /// Whether copies come by the log as well.
    pub(crate) fn is_partial(&self) -> bool {
        self.is_partial.load(Ordering::Relaxed)
    }

    pub(crate) fn set_partial(&self, is_partial: bool) {
        self.is_partial.store(is_partial, Ordering::Relaxed);
    }

    /// How many copies did not fit.
    pub(crate) fn lost(&self) -> u64 {
        sys_bpf::first_value(&self.lost).unwrap_or(0)
    }

    /// Writes the part of a program that copies a packet which matches, and which stays within this host if that `is_inside`.
    pub(crate) fn write(&self, code: &mut Assembler, matched: &Matched, hook: Hook, is_inside: bool) {
        let Matched { context, length, free: record, done } = *matched;
        let [reserve, give_up, lost] = [(); 3].map(|()| code.label());
        for len in LENGTHS {
            let next = code.label();
            code.jump_if(length, Relation::Greater, len - PACKET, next);
            code.compute(Arithmetic::Move, 2, len);
            code.jump(reserve);
            code.place(next);
        }
        code.jump(lost);
        code.place(reserve);
        code.set_map(1, self.descriptor.raw());
        code.compute(Arithmetic::Move, 3, 0);
        code.call(RESERVE);
        code.jump_if_null(0, lost);
        code.combine(Arithmetic::Move, record, 0);
        code.call(TIME_SINCE_BOOT);
        code.store_wide(record, TIME, 0);
        // Inbound it is the packet's device, outbound what the rule has put into the mark.
        let comes_in = (hook != Hook::Output).then_some(CONTEXT_INTERFACE);
        let goes_out = (matches!(hook, Hook::Output | Hook::Forward) && !is_inside).then_some(CONTEXT_MARK);
        let certain = if is_inside { LOOPBACK } else { 0 };
        for (from, certain, to) in [(comes_in, 0, INTERFACE_IN), (goes_out, certain, INTERFACE_OUT)] {
            match from {
                Some(from) => code.load_word(1, context, from),
                None => code.compute(Arithmetic::Move, 1, certain),
            }
            code.store_word(record, to, 1);
        }
        code.store_word(record, LENGTH, length);
        code.compute(Arithmetic::Move, 1, hook as u32);
        code.store_word(record, HOOK, 1);
        code.combine(Arithmetic::Move, 1, context);
        code.compute(Arithmetic::Move, 2, 0);
        code.combine(Arithmetic::Move, 3, record);
        code.compute_wide(Arithmetic::Add, 3, PACKET);
        code.combine(Arithmetic::Move, 4, length);
        code.call(LOAD_BYTES);
        code.combine(Arithmetic::Move, 1, record);
        code.compute(Arithmetic::Move, 2, 0);
        code.jump_if(0, Relation::NotEqual, 0, give_up);
        code.call(SUBMIT);
        code.jump(done);
        code.place(give_up);
        code.call(DISCARD);
        code.place(lost);
        code.set_map_value(1, self.lost.raw());
        code.compute(Arithmetic::Move, 2, 1);
        code.add_shared(1, 0, 2);
    }

    /// Has the copies visited that are there, until `visit` says that it is enough.
    pub(crate) fn visit(&self, mut visit: impl FnMut(&Waiting<'_>) -> bool) {
        let boot = self.boot();
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.visit(|record| copy(record, boot).is_none_or(|copy| visit(&copy)));
    }

    /// After a wait: if packets come in a stream, more of them are let gather, unless somebody is woken.
    pub(crate) fn let_gather(&self, woken: &Descriptor) {
        let now = sys::clock(libc::CLOCK_BOOTTIME);
        if now - self.ended.swap(now, Ordering::Relaxed) < STREAM {
            // A pause that fails is a look that comes too early.
            drop(sys::wait_readable(&[woken], Some(PAUSE)));
            self.ended.store(sys::clock(libc::CLOCK_BOOTTIME), Ordering::Relaxed);
        }
    }

    /// The Unix epoch's time at boot. It changes when the clock is set.
    fn boot(&self) -> i64 {
        let before = self.boot.load(Ordering::Relaxed);
        let boot = boot_time().filter(|boot| boot.abs_diff(before) > MOMENT.unsigned_abs()).unwrap_or(before);
        self.boot.store(boot, Ordering::Relaxed);
        boot
    }
}

/// Writes what comes first in a program that is asked before carriers are looked for: it refuses what may be one.
pub(crate) fn write_first(code: &mut Assembler) {
    let is_other = code.label();
    code.load_word(0, 1, CONTEXT_MARK);
    code.compute(Arithmetic::And, 0, carrier::MASK);
    code.jump_if(0, Relation::NotEqual, carrier::mark(0), is_other);
    code.compute(Arithmetic::Move, 0, 0);
    code.exit();
    code.place(is_other);
}

/// The Unix epoch's time at boot; `None` if something came between the readings.
fn boot_time() -> Option<i64> {
    let before = sys::clock(libc::CLOCK_BOOTTIME);
    let time = sys::clock(libc::CLOCK_REALTIME);
    let after = sys::clock(libc::CLOCK_BOOTTIME);
    (after - before < MOMENT).then(|| time - before - (after - before) / 2)
}

/// The copy in a record.
fn copy(record: &[u8], boot: i64) -> Option<Waiting<'_>> {
    let word = |at: i16| array(record, at as usize).map(u32::from_ne_bytes);
    let time = array(record, TIME as usize).map(i64::from_ne_bytes)?;
    let start = PACKET as usize;
    Some(Waiting {
        hook: hook_of(word(HOOK)? as u8),
        time_ns: Some(boot.saturating_add(time)),
        interface_in: word(INTERFACE_IN)?,
        interface_out: word(INTERFACE_OUT)?,
        bytes: record.get(start..start + word(LENGTH)? as usize)?,
        // A program is not told whether checksums are final.
        has_open_checksum: true,
        ..Waiting::default()
    })
}
