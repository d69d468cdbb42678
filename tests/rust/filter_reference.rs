//! A second evaluator of filters, written from the description of the object format and of the fields, test by test and
//! field by field, with no regard to speed: what the optimised program is held against.
use oxidivert::address::Address;
use oxidivert::packet::{Layout, Transport, hash};

/// A number by sign and magnitude.
pub type Signed = (bool, u128);

/// A test of a program.
#[derive(Clone, Debug)]
pub struct Test {
    pub field: u32,
    pub operator: u32,
    pub negative: bool,
    pub words: [u32; 4],
    pub index: i64,
    pub targets: [Target; 2],
}

/// Where a test leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Accept,
    Reject,
    Test(usize),
}

/// What is evaluated.
pub struct Input<'a> {
    pub layer: u8,
    pub packet: &'a [u8],
    pub layout: Option<Layout>,
    pub address: &'a Address,
}

const ALPHABET: &str = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz+=";

fn number(text: &mut &str) -> u32 {
    let mut value = 0;
    loop {
        let digit = ALPHABET.find(text.chars().next().expect("a digit")).expect("a digit") as u32;
        *text = &text[1..];
        if digit >= 32 {
            return value * 32 + (digit - 32);
        }
        value = value * 32 + digit;
    }
}

fn target(text: &mut &str) -> Target {
    let letter = text.chars().next();
    *text = &text[1..];
    match letter {
        Some('A') => Target::Accept,
        Some('X') => Target::Reject,
        _ => Target::Test(number(text) as usize),
    }
}

/// The tests of an object string that is known to be valid.
pub fn decode(object: &str) -> Vec<Test> {
    let mut text = object.strip_prefix("@WinDiv_").expect("an object");
    number(&mut text);
    let count = number(&mut text);
    let mut tests = Vec::new();
    for _ in 0..count {
        text = text.strip_prefix('_').expect("a test");
        let [field, operator, negative, first] = std::array::from_fn(|_| number(&mut text));
        let mut words = [first, 0, 0, 0];
        let mut index = 0;
        match field {
            71..=79 => index = i64::from(number(&mut text)) - 65535,
            21 | 22 => words[1] = 0xFFFF,
            28 | 29 | 61 | 62 => words[1..].fill_with(|| number(&mut text)),
            66 | 67 | 81 => words[1] = number(&mut text),
            _ => {}
        }
        let targets = [target(&mut text), target(&mut text)];
        tests.push(Test { field, operator, negative: negative == 1, words, index, targets });
    }
    assert_eq!(text, "");
    tests
}

/// The verdict of a program; `None` where it tests a field that the layer lacks.
pub fn evaluate(tests: &[Test], input: &Input<'_>) -> Option<bool> {
    let mut at = 0;
    loop {
        let test = &tests[at];
        if !exists(test.field, input.layer) {
            return None;
        }
        let holds = read(test.field, test.index, input).is_some_and(|value| compare(test, value));
        match test.targets[usize::from(!holds)] {
            Target::Accept => return Some(true),
            Target::Reject => return Some(false),
            Target::Test(next) => at = next,
        }
    }
}

fn compare(test: &Test, value: Signed) -> bool {
    let [a, b, c, d] = test.words.map(u128::from);
    let wide = matches!(test.field, 21 | 22 | 28 | 29 | 61 | 62 | 66 | 67 | 81);
    let argument = (test.negative, if wide { a | b << 32 | c << 64 | d << 96 } else { a });
    let key = |(negative, magnitude): Signed| {
        // Big enough for every magnitude, and minus zero below zero.
        if negative { (0, u128::MAX - magnitude) } else { (1, magnitude) }
    };
    let (value, argument) = (key(value), key(argument));
    match test.operator {
        0 => value == argument,
        1 => value != argument,
        2 => value < argument,
        3 => value <= argument,
        4 => value > argument,
        _ => value >= argument,
    }
}

/// Whether a layer has a field.
pub fn exists(field: u32, layer: u8) -> bool {
    let layers = match field {
        0 | 70 | 81 => "01234",
        1 | 2 | 58 | 61..=65 => "023",
        5..=10 => "0123",
        60 => "234",
        66 | 67 => "23",
        68 | 69 => "4",
        _ => "01",
    };
    layers.contains(char::from(b'0' + layer))
}

fn be(bytes: &[u8]) -> u128 {
    bytes.iter().fold(0, |value, byte| value << 8 | u128::from(*byte))
}

fn le(bytes: &[u8]) -> u128 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u128::from(*byte))
}

fn element(region: &[u8], index: i64, len: usize) -> Option<u128> {
    let start = if index < 0 { region.len() as i64 + index } else { index };
    let start = usize::try_from(start).ok()?;
    region.get(start..start.checked_add(len)?).map(be)
}

/// The value of a field, where it is there.
pub fn read(field: u32, index: i64, input: &Input<'_>) -> Option<Signed> {
    let record = input.address.as_bytes();
    if field == 81 {
        let time = input.address.timestamp();
        return Some((time < 0, u128::from(time.unsigned_abs())));
    }
    if field == 69 {
        let priority = input.address.reflect_priority();
        return Some((priority < 0, u128::from(priority.unsigned_abs())));
    }
    let bit = |bit: u8| u128::from(record[10] >> bit & 1);
    let value = match (field, input.layout) {
        // Flows and sockets do not tell their IP version.
        (0, _) | (5 | 6, None) => 0,
        (1, _) => 1 - bit(1),
        (2, _) => bit(1),
        (58, _) => bit(2),
        (70, _) => record[9].into(),
        (_, Some(layout)) => read_packet(field, index, input, &layout)?,
        (60, None) if input.layer == 4 => le(&record[24..28]),
        (68, None) => le(&record[28..32]),
        (7, None) => u128::from(record[72] == 1 && bit(4) == 0),
        (8, None) => u128::from(record[72] == 6),
        (9, None) => u128::from(record[72] == 17),
        (10, None) => u128::from(record[72] == 58 && bit(4) == 1),
        (60, None) => le(&record[32..36]),
        (61, None) => le(&record[36..52]),
        (62, None) => le(&record[52..68]),
        (63, None) => le(&record[68..70]),
        (64, None) => le(&record[70..72]),
        (65, None) => record[72].into(),
        (66, None) => le(&record[16..24]),
        (67, None) => le(&record[24..32]),
        _ => panic!("field {field} without a packet"),
    };
    Some((false, value))
}

fn read_packet(field: u32, index: i64, input: &Input<'_>, layout: &Layout) -> Option<u128> {
    let (packet, record) = (input.packet, input.address.as_bytes());
    let has = |transport| layout.has(transport);
    let header = &packet[layout.transport_offset()..];
    let payload = &packet[layout.payload_range()];
    let missing = match field {
        11..=22 => layout.is_ipv6(),
        23..=29 => !layout.is_ipv6(),
        30..=33 => !has(Transport::Icmp),
        34..=37 => !has(Transport::Icmpv6),
        38..=52 | 74..=76 => !has(Transport::Tcp),
        53..=57 | 77..=79 => !has(Transport::Udp),
        _ => false,
    };
    if missing {
        return None;
    }
    Some(match field {
        3 => le(&record[16..20]),
        4 => le(&record[20..24]),
        5 => (!layout.is_ipv6()).into(),
        6 => layout.is_ipv6().into(),
        7 => has(Transport::Icmp).into(),
        8 => has(Transport::Tcp).into(),
        9 => has(Transport::Udp).into(),
        10 => has(Transport::Icmpv6).into(),
        11..=22 => read_ipv4(field, packet),
        23..=29 => read_ipv6(field, packet),
        30 | 34 => header[0].into(),
        31 | 35 => header[1].into(),
        32 | 36 | 54 => be(&header[2..4]),
        33 | 37 => be(&header[4..8]),
        38..=51 => read_tcp(field, header),
        52 | 57 => payload.len() as u128,
        53 => be(&header[0..2]),
        55 => be(&header[4..6]),
        56 => be(&header[6..8]),
        59 => u128::from(record[10] >> 3 & 1),
        61 | 62 => endpoint_address(packet, layout, (field == 61) == input.address.outbound()),
        63 | 64 => endpoint_port(header, layout, (field == 63) == input.address.outbound()),
        65 => layout.protocol().into(),
        71 => element(packet, index, 1)?,
        72 => element(packet, index, 2)?,
        73 => element(packet, index, 4)?,
        74 | 77 => element(payload, index, 1)?,
        75 | 78 => element(payload, index, 2)?,
        76 | 79 => element(payload, index, 4)?,
        80 => packet.len() as u128,
        82..=84 => {
            let hash = hash(packet, layout, input.address.timestamp() as u64);
            u128::from([hash >> 48 & 0xFF, hash >> 32 & 0xFFFF, hash & 0xFFFF_FFFF][field as usize - 82])
        }
        85 => layout.is_fragment().into(),
        _ => panic!("field {field} on layer {}", input.layer),
    })
}

fn endpoint_address(packet: &[u8], layout: &Layout, source: bool) -> u128 {
    match (layout.is_ipv6(), source) {
        (false, true) => 0xFFFF << 32 | be(&packet[12..16]),
        (false, false) => 0xFFFF << 32 | be(&packet[16..20]),
        (true, true) => be(&packet[8..24]),
        (true, false) => be(&packet[24..40]),
    }
}

fn endpoint_port(header: &[u8], layout: &Layout, source: bool) -> u128 {
    match (layout.transport(), source) {
        (Some(Transport::Tcp | Transport::Udp), true) => be(&header[0..2]),
        (Some(Transport::Tcp | Transport::Udp), false) => be(&header[2..4]),
        (Some(_), true) => header[0].into(),
        _ => 0,
    }
}

fn read_ipv4(field: u32, packet: &[u8]) -> u128 {
    match field {
        11 => (packet[0] & 15).into(),
        12 => packet[1].into(),
        13 => be(&packet[2..4]),
        14 => be(&packet[4..6]),
        15 => (packet[6] >> 6 & 1).into(),
        16 => (packet[6] >> 5 & 1).into(),
        17 => be(&packet[6..8]) & 0x1FFF,
        18 => packet[8].into(),
        19 => packet[9].into(),
        20 => be(&packet[10..12]),
        21 => 0xFFFF << 32 | be(&packet[12..16]),
        _ => 0xFFFF << 32 | be(&packet[16..20]),
    }
}

fn read_ipv6(field: u32, packet: &[u8]) -> u128 {
    match field {
        23 => be(&packet[0..2]) >> 4 & 0xFF,
        24 => be(&[packet[2], packet[3], packet[1] & 15, 0]),
        25 => be(&packet[4..6]),
        26 => packet[6].into(),
        27 => packet[7].into(),
        28 => be(&packet[8..24]),
        _ => be(&packet[24..40]),
    }
}

fn read_tcp(field: u32, header: &[u8]) -> u128 {
    match field {
        38 => be(&header[0..2]),
        39 => be(&header[2..4]),
        40 => be(&header[4..8]),
        41 => be(&header[8..12]),
        42 => (header[12] >> 4).into(),
        43..=48 => (header[13] >> (48 - field) & 1).into(),
        49 => be(&header[14..16]),
        50 => be(&header[16..18]),
        _ => be(&header[18..20]),
    }
}
