//! What goes into one call that sends, and what a failed call means for each packet. Knows no Windows.
use super::ledger::Sent;
use crate::address::Address;
use crate::backend::{Error, ErrorCode, Mask};
use crate::batch::{Batch, Origin, Record};
use crate::engine::verify_lens;

/// The most packets of one call, as the driver has it.
const PACKETS_MAX: usize = 255;
/// Not many more bytes are sent by one call, which maps them all.
const BYTES_MAX: usize = 256 * 1024;
/// Refusals of the stack for one packet: it is left out, and the rest of the batch goes on. Everything that the driver
/// itself refuses with 87 is refused here before it gets there.
const REFUSED: [ErrorCode; 4] = [
    ErrorCode::InvalidParameter,
    ErrorCode::DataNotAccepted,
    ErrorCode::HostUnreachable,
    ErrorCode::ProtocolUnreachable,
];

/// Packets end to end with their addresses, and what is to be counted of them.
#[derive(Debug, Default)]
pub(super) struct Parcel {
    pub(super) bytes: Vec<u8>,
    pub(super) addresses: Vec<Address>,
    modified: u64,
    re_injected: u64,
}

impl Parcel {
    fn clear(&mut self) {
        self.bytes.clear();
        self.addresses.clear();
        self.modified = 0;
        self.re_injected = 0;
    }

    fn push(&mut self, record: &Record, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.addresses.push(record.address);
        self.modified += u64::from(record.changed);
        self.re_injected += u64::from(matches!(record.origin, Origin::Received(_)));
    }

    fn is_full(&self) -> bool {
        self.addresses.len() >= PACKETS_MAX || self.bytes.len() >= BYTES_MAX
    }
}

/// Sends the packets of a batch that `mask` selects by as few calls of `send` as possible, and counts exactly: a packet
/// that is malformed ends it, as the driver does; one that the stack refuses is left out and told at the end. Of a call of
/// several packets that the stack refused something of, one is counted as refused: the driver does not say how many.
pub(super) fn send_all(
    parcel: &mut Parcel,
    batch: &Batch,
    mask: Mask<'_>,
    mut send: impl FnMut(&Parcel) -> Result<(), Error>,
) -> (Sent, Option<Error>) {
    let (mut counts, mut failure) = (Sent::default(), None);
    let mut flush = |parcel: &mut Parcel, counts: &mut Sent, failure: &mut Option<Error>| {
        let outcome = if parcel.addresses.is_empty() { Ok(()) } else { send(parcel) };
        let goes_on = count(parcel, outcome, counts, failure);
        parcel.clear();
        goes_on
    };
    parcel.clear();
    for (index, record) in batch.records().iter().enumerate() {
        if mask.is_some_and(|mask| mask.get(index) != Some(&true)) {
            continue;
        }
        match prepare(record, batch.bytes(index).unwrap_or_default()) {
            Ok(bytes) => parcel.push(record, bytes),
            Err(error) => {
                if !flush(parcel, &mut counts, &mut failure) {
                    return (counts, failure);
                }
                counts.failed += 1;
                let goes_on = error.code() == ErrorCode::HostUnreachable;
                failure = Some(error);
                if !goes_on {
                    return (counts, failure);
                }
            }
        }
        if parcel.is_full() && !flush(parcel, &mut counts, &mut failure) {
            return (counts, failure);
        }
    }
    flush(parcel, &mut counts, &mut failure);
    (counts, failure)
}

/// The packet's bytes without what lies behind them, if the driver can take it.
fn prepare<'a>(record: &Record, bytes: &'a [u8]) -> Result<&'a [u8], Error> {
    let total_len = record.layout.total_len();
    verify_lens(bytes, total_len)?;
    let hops = bytes.get(if record.layout.is_ipv6() { 7 } else { 8 }).copied().unwrap_or_default();
    if record.address.impostor() && hops <= 1 {
        let message = "the time to live of a packet marked impostor ran out";
        return Err(Error::new(ErrorCode::HostUnreachable, message));
    }
    Ok(bytes.get(..total_len).unwrap_or(bytes))
}

/// Counts what became of a parcel; whether sending goes on.
fn count(parcel: &Parcel, outcome: Result<(), Error>, sent: &mut Sent, failure: &mut Option<Error>) -> bool {
    let packets = parcel.addresses.len();
    let Err(error) = outcome else {
        sent.gone += packets;
        sent.modified += parcel.modified;
        sent.re_injected += parcel.re_injected;
        return true;
    };
    let is_refusal = REFUSED.contains(&error.code());
    *failure = Some(error);
    if is_refusal {
        let gone = packets - 1;
        sent.gone += gone;
        sent.modified += parcel.modified.min(gone as u64);
        sent.re_injected += parcel.re_injected.min(gone as u64);
        sent.failed += 1;
    } else {
        sent.failed += packets as u64;
    }
    is_refusal
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Token;
    use crate::packet::Builder;

    fn batch(count: u16, payload: usize) -> Batch {
        let mut batch = Batch::new();
        for port in 0..count {
            let builder = Builder::ipv4([10, 0, 0, 1], [10, 0, 0, 2]).udp(1, port);
            let bytes = builder.payload(&vec![1; payload]).build().unwrap();
            let origin = Origin::Received(Token(u64::from(port)));
            batch.push_parsed(&bytes, &Address::default(), 0, origin).unwrap();
        }
        batch
    }

    fn send(batch: &Batch, mask: Mask<'_>, answers: &mut Vec<Result<(), Error>>) -> (Sent, Option<Error>, Vec<usize>) {
        let mut calls = Vec::new();
        let (sent, failure) = send_all(&mut Parcel::default(), batch, mask, |parcel| {
            calls.push(parcel.addresses.len());
            if answers.is_empty() { Ok(()) } else { answers.remove(0) }
        });
        (sent, failure, calls)
    }

    fn refusal(code: ErrorCode) -> Result<(), Error> {
        Err(Error::new(code, "refused"))
    }

    #[test]
    fn a_batch_is_sent_by_as_few_calls_as_possible() {
        let (sent, failure, calls) = send(&batch(600, 20), None, &mut Vec::new());
        assert_eq!((sent.gone, sent.re_injected, sent.failed), (600, 600, 0));
        assert!(failure.is_none());
        assert_eq!(calls, [255, 255, 90]);
        let (.., calls) = send(&batch(30, 30_000), None, &mut Vec::new());
        assert_eq!(calls, [9, 9, 9, 3]);
        let mask = [true, false, true];
        assert_eq!(send(&batch(3, 1), Some(&mask), &mut Vec::new()).2, [2]);
        assert!(send(&batch(3, 1), Some(&[false; 3]), &mut Vec::new()).2.is_empty());
    }

    #[test]
    fn a_malformed_packet_ends_it_and_what_went_before_is_out() {
        let mut batch = batch(3, 20);
        let (bytes, _) = batch.edit(1).unwrap();
        bytes[3] = 200;
        let bytes = bytes.to_vec();
        batch.replace(1, &bytes, crate::packet::Layout::parse(&bytes).unwrap());
        let (sent, failure, calls) = send(&batch, None, &mut Vec::new());
        assert_eq!((sent.gone, sent.failed, calls), (1, 1, vec![1]));
        assert_eq!(failure.unwrap().code(), ErrorCode::InsufficientBuffer);
    }

    #[test]
    fn an_impostor_without_hops_is_left_out_and_told_at_the_end() {
        let mut batch = batch(3, 20);
        batch.edit(1).unwrap().0[8] = 1;
        batch.records_mut()[1].address.set_impostor(true);
        let (sent, failure, calls) = send(&batch, None, &mut Vec::new());
        assert_eq!((sent.gone, sent.failed, calls), (2, 1, vec![1, 1]));
        assert_eq!(failure.unwrap().code(), ErrorCode::HostUnreachable);
    }

    #[test]
    fn what_the_stack_refuses_is_one_packet_and_any_other_failure_is_all_of_the_call() {
        let (sent, failure, calls) = send(&batch(300, 20), None, &mut vec![refusal(ErrorCode::DataNotAccepted)]);
        assert_eq!((sent.gone, sent.failed, calls), (299, 1, vec![255, 45]));
        assert_eq!(failure.unwrap().code(), ErrorCode::DataNotAccepted);
        let mut answers = vec![Ok(()), refusal(ErrorCode::NoSystemResources)];
        let (sent, failure, calls) = send(&batch(600, 20), None, &mut answers);
        assert_eq!((sent.gone, sent.failed, calls), (255, 255, vec![255, 255]));
        assert_eq!(failure.unwrap().code(), ErrorCode::NoSystemResources);
    }
}
