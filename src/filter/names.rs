//! The words that mean something by themselves: keywords, fields and macros, in one hash table that is built with the crate.
use super::field::Field;

/// What a word means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    And,
    Or,
    Not,
    True,
    False,
    Field(Field),
    /// A number, on the layers that have it.
    Macro(&'static Macro),
}

/// A name for a number.
#[derive(Debug, PartialEq, Eq)]
pub struct Macro {
    name: &'static str,
    /// The number on each layer.
    values: [Option<u8>; 5],
}

impl Macro {
    /// The spelling in filters.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The number on a layer; `None` if the layer lacks the macro, as layers with a wrong number lack all of them that
    /// belong to some layers only.
    pub fn value(&self, layer: u8) -> Option<u8> {
        match self.values.get(usize::from(layer)) {
            Some(value) => *value,
            None => self.values.iter().all(Option::is_some).then_some(self.values[0]).flatten(),
        }
    }
}

const fn everywhere(name: &'static str, value: u8) -> Macro {
    Macro { name, values: [Some(value); 5] }
}

const fn on(name: &'static str, values: [Option<u8>; 5]) -> Macro {
    Macro { name, values }
}

/// Every macro. The event names belong to the layers whose events they are; the layer names exist on every layer.
pub static MACROS: [Macro; 20] = [
    everywhere("TRUE", 1),
    everywhere("FALSE", 0),
    everywhere("TCP", 6),
    everywhere("UDP", 17),
    everywhere("ICMP", 1),
    everywhere("ICMPV6", 58),
    everywhere("NETWORK", 0),
    everywhere("NETWORK_FORWARD", 1),
    everywhere("FLOW", 2),
    everywhere("SOCKET", 3),
    everywhere("REFLECT", 4),
    on("PACKET", [Some(0), Some(0), None, None, None]),
    on("ESTABLISHED", [None, None, Some(1), None, None]),
    on("DELETED", [None, None, Some(2), None, None]),
    on("BIND", [None, None, None, Some(3), None]),
    on("CONNECT", [None, None, None, Some(4), None]),
    on("LISTEN", [None, None, None, Some(5), None]),
    on("ACCEPT", [None, None, None, Some(6), None]),
    on("CLOSE", [None, None, None, Some(7), Some(9)]),
    on("OPEN", [None, None, None, None, Some(8)]),
];

const KEYWORDS: [(&str, Name); 5] =
    [("and", Name::And), ("or", Name::Or), ("not", Name::Not), ("true", Name::True), ("false", Name::False)];

const SLOTS: usize = 512;

type Table = [Option<(&'static str, Name)>; SLOTS];

static TABLE: Table = build();

/// A hash of the length and three bytes, which tell nearly all names apart.
const fn slot_of(word: &[u8]) -> usize {
    let [first, .., before, last] = word else { return word.len() };
    let (_, back) = word.split_at(word.len() / 2);
    let middle = if let [middle, ..] = back { *middle } else { 0 };
    let hash = (*first as usize).wrapping_mul(31)
        ^ (*last as usize).wrapping_mul(7)
        ^ (*before as usize).wrapping_mul(67)
        ^ (middle as usize).wrapping_mul(129)
        ^ word.len().wrapping_mul(17);
    hash % SLOTS
}

#[expect(clippy::indexing_slicing, reason = "evaluated when the crate is built, where a wrong index is an error")]
const fn insert(table: &mut Table, word: &'static str, name: Name) {
    let mut slot = slot_of(word.as_bytes());
    while table[slot].is_some() {
        slot = (slot + 1) % SLOTS;
    }
    table[slot] = Some((word, name));
}

#[expect(clippy::indexing_slicing, reason = "evaluated when the crate is built, where a wrong index is an error")]
const fn build() -> Table {
    let mut table = [None; SLOTS];
    let mut index = 0;
    while index < KEYWORDS.len() {
        insert(&mut table, KEYWORDS[index].0, KEYWORDS[index].1);
        index += 1;
    }
    index = 0;
    while index < Field::ALL.len() {
        insert(&mut table, Field::ALL[index].name(), Name::Field(Field::ALL[index]));
        index += 1;
    }
    index = 0;
    while index < MACROS.len() {
        insert(&mut table, MACROS[index].name, Name::Macro(&MACROS[index]));
        index += 1;
    }
    table
}

/// What a word means, if it is a keyword, a field or a macro.
pub(super) fn lookup(word: &[u8]) -> Option<Name> {
    let mut slot = slot_of(word);
    // More than half of the slots are free, and a free one ends the search.
    loop {
        let (name, meaning) = (*TABLE.get(slot)?)?;
        if name.as_bytes() == word {
            return Some(meaning);
        }
        slot = (slot + 1) % SLOTS;
    }
}

/// Every name that means something on a layer: keywords, then fields, then macros.
pub(super) fn on_layer(layer: u8) -> impl Iterator<Item = (&'static str, Name)> {
    let fields = Field::ALL.iter().filter(move |field| field.exists_on(layer));
    let macros = MACROS.iter().filter(move |name| name.value(layer).is_some());
    let named = fields.map(|field| (field.name(), Name::Field(*field)));
    KEYWORDS.into_iter().chain(named).chain(macros.map(|name| (name.name, Name::Macro(name))))
}

/// The names of a layer's events and their numbers.
pub(super) fn events(layer: u8) -> impl Iterator<Item = (&'static str, u8)> {
    let own = MACROS.iter().filter(|name| name.values.contains(&None));
    own.filter_map(move |name| Some((name.name, name.value(layer)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_and_nothing_else() {
        for field in Field::ALL {
            assert_eq!(lookup(field.name().as_bytes()), Some(Name::Field(*field)));
        }
        for name in &MACROS {
            assert_eq!(lookup(name.name.as_bytes()), Some(Name::Macro(name)));
        }
        for (word, name) in KEYWORDS {
            assert_eq!(lookup(word.as_bytes()), Some(name));
        }
        for word in ["", "tcp.", "TCP2", "tcp.dstport", "b", "10", "eventt"] {
            assert_eq!(lookup(word.as_bytes()), None, "{word}");
        }
    }

    #[test]
    fn event_names_belong_to_their_layers() {
        let close = MACROS.iter().find(|name| name.name == "CLOSE").unwrap();
        assert_eq!([0, 1, 2, 3, 4, 5].map(|layer| close.value(layer)), [None, None, None, Some(7), Some(9), None]);
        let tcp = MACROS.iter().find(|name| name.name == "TCP").unwrap();
        assert_eq!(tcp.value(200), Some(6));
    }
}
