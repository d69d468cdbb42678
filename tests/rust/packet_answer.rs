//! Answers to packets that are not let through: for any packet a right one or none, and never an answer to an answer.
use crate::strategies::{damaged_packet, packet_spec};
use oxidivert::packet::{Endpoint, Layout, Transport, read_addr, reset, unreachable, verify_checksums};
use proptest::prelude::*;

fn verify(packet: &[u8], answer: &[u8]) -> Result<(), TestCaseError> {
    let layout = Layout::parse(packet).expect("what is answered is a packet");
    let of_answer = Layout::parse(answer).expect("an answer is a packet");
    prop_assert!(!of_answer.is_truncated() && !of_answer.is_extended() && !of_answer.is_fragment());
    prop_assert!(verify_checksums(answer, &of_answer));
    prop_assert_eq!(of_answer.version(), layout.version());
    for (one, other) in [(Endpoint::Source, Endpoint::Destination), (Endpoint::Destination, Endpoint::Source)] {
        prop_assert_eq!(read_addr(answer, &of_answer, one), read_addr(packet, &layout, other));
    }
    Ok(())
}

fn verify_both(packet: &[u8]) -> Result<(), TestCaseError> {
    if let Some(answer) = reset(packet) {
        verify(packet, &answer)?;
        prop_assert_eq!(answer.len(), if packet[0] >> 4 == 6 { 60 } else { 40 });
        prop_assert_eq!(reset(&answer), None);
        prop_assert_eq!(unreachable(&answer, None), None);
    }
    if let Some(answer) = unreachable(packet, None) {
        verify(packet, &answer)?;
        prop_assert!(answer.len() <= 1280);
        prop_assert_eq!(unreachable(&answer, None), None);
        prop_assert_eq!(reset(&answer), None);
    }
    Ok(())
}

proptest! {
    #[test]
    fn an_answer_to_a_packet_is_right(spec in packet_spec()) {
        let packet = spec.build().expect("a packet");
        verify_both(&packet)?;
        let layout = Layout::parse(&packet).expect("a packet");
        if reset(&packet).is_some() {
            prop_assert!(layout.has(Transport::Tcp));
        }
    }

    #[test]
    fn bytes_that_may_be_no_packet_give_a_right_answer_or_none(bytes in damaged_packet()) {
        verify_both(&bytes)?;
    }
}
