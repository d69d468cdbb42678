//! The engine on any bytes: nothing panics, and what passes is what came.
use crate::engine_support::*;
use crate::strategies::any_bytes;
use oxidivert::address::Flags;
use oxidivert::engine::{Engine, Injection, RawHandle};
use proptest::collection::vec;
use proptest::prelude::*;

fn injection() -> BoxedStrategy<Injection> {
    any::<[bool; 5]>()
        .prop_map(|[outbound, loopback, forwarded, reassembled, impostor]| Injection {
            outbound,
            loopback,
            forwarded,
            reassembled,
            impostor,
            ..Injection::default()
        })
        .boxed()
}

proptest! {
    #[test]
    fn what_is_sent_on_unchanged_arrives_as_it_came(bytes in any_bytes(), injection in injection()) {
        let injection = Injection { impostor: false, ..injection };
        let engine = Engine::default();
        let sniffer = open(&engine, "true", 1, Flags::SNIFF);
        let handles = [DIVERT, Flags::FRAGMENTS].map(|flags| open(&engine, "true", 0, flags));
        engine.inject(&bytes, &injection);
        for handle in handles.iter().rev() {
            pass_any(handle);
        }
        let copies = receive(&sniffer);
        prop_assert!(copies.is_empty() || copies.bytes(0) == Some(&bytes[..]));
        let delivered = engine.take_delivered();
        prop_assert_eq!((delivered.len(), delivered.bytes(0)), (1, Some(&bytes[..])));
    }

    #[test]
    fn the_raw_calls_take_any_bytes_and_lengths(
        bytes in vec(any_bytes(), 1..4),
        injection in injection(),
        buffer_len in 0..300_usize,
        addresses_len in 0..400_usize,
    ) {
        let engine = Engine::default();
        let handle = RawHandle::open(&engine, "true", 0, 0, 0).expect("it opens");
        let low = open(&engine, "true", -1, DIVERT);
        for bytes in &bytes {
            engine.inject(bytes, &injection);
        }
        handle.shutdown(1).expect("it is open");
        let mut buffer = vec![0; buffer_len];
        let mut addresses = vec![final_address(); 5];
        let mut len = addresses_len;
        let read = handle.recv_ex(Some(&mut buffer), 0, Some(&mut addresses), Some(&mut len));
        prop_assert!(read.is_err() || read.is_ok_and(|read| read <= buffer_len));
        let data = bytes.concat();
        for address in &mut addresses {
            address.set_impostor(injection.impostor);
        }
        let sent = handle.send_ex(Some(&data), 0, Some(&addresses), addresses_len);
        let arrived = receive(&low).iter().map(|packet| packet.bytes.len()).sum::<usize>();
        prop_assert!(sent.is_err() || sent.is_ok_and(|sent| sent >= arrived && sent <= data.len()));
    }
}

/// Receives all and sends it on.
fn pass_any(handle: &oxidivert::engine::Handle) {
    let batch = receive(handle);
    handle.send(&batch, None).expect("it sends");
}
