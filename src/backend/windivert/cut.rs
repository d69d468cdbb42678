//! Where one packet of a batch ends and the next begins: the driver lays them end to end and says only how many there are.
use crate::address::Layer;

/// Cuts the bytes that the driver filled in into `count` items. By the IP header's length on packet layers, behind the NUL
/// on REFLECT; the other layers have no bytes. The last item is all that is left, so that a single one is whole whatever its
/// header says; of bytes that lie about their length, what follows is cut as well as may be.
pub(super) fn cut(layer: Layer, mut bytes: &[u8], count: usize) -> impl Iterator<Item = &[u8]> {
    (1..=count).map(move |number| {
        let len = match layer {
            _ if number == count => bytes.len(),
            Layer::Network | Layer::NetworkForward => packet_len(bytes),
            Layer::Reflect => bytes.iter().position(|byte| *byte == 0).map_or(bytes.len(), |at| at + 1),
            Layer::Flow | Layer::Socket => 0,
        };
        let (item, rest) = bytes.split_at(len.min(bytes.len()));
        bytes = rest;
        item
    })
}

/// How long a packet is by its IP header.
fn packet_len(bytes: &[u8]) -> usize {
    let field = |at: usize| {
        let bytes = bytes.get(at..at + 2).unwrap_or_default();
        bytes.iter().fold(0, |value, byte| value << 8 | usize::from(*byte))
    };
    match bytes.first().map(|byte| byte >> 4) {
        Some(4) => field(2).max(1),
        Some(6) => field(4) + 40,
        _ => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Builder;
    use proptest::prelude::*;

    #[test]
    fn packets_are_parted_by_their_headers() {
        let packets = [
            Builder::ipv4([10, 0, 0, 1], [10, 0, 0, 2]).udp(1, 2).payload(b"one").build().unwrap(),
            Builder::ipv6([1; 16], [2; 16]).udp(1, 2).payload(b"three").build().unwrap(),
            Builder::ipv4([10, 0, 0, 1], [10, 0, 0, 2]).udp(1, 2).build().unwrap(),
        ];
        let whole = packets.concat();
        assert_eq!(cut(Layer::Network, &whole, 3).collect::<Vec<_>>(), packets.iter().collect::<Vec<_>>());
        assert_eq!(cut(Layer::Network, &whole, 1).collect::<Vec<_>>(), [&whole]);
    }

    #[test]
    fn objects_end_with_their_nul_and_events_have_no_bytes() {
        let objects = cut(Layer::Reflect, b"@one\0@two\0", 2).collect::<Vec<_>>();
        assert_eq!(objects, [b"@one\0", b"@two\0"]);
        assert_eq!(cut(Layer::Socket, b"", 2).collect::<Vec<_>>(), [b"", b""]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_cut_into_as_many_items_and_none_is_lost(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            count in 1..20_usize,
        ) {
            for layer in [Layer::Network, Layer::NetworkForward, Layer::Reflect] {
                let items: Vec<_> = cut(layer, &bytes, count).collect();
                prop_assert_eq!(items.len(), count);
                prop_assert_eq!(items.concat(), bytes.clone());
            }
        }
    }
}
