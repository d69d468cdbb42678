//! What is found out once for each class of packets, since most batches have few classes.
use super::super::program::Class;
use crate::address::Address;
use crate::packet::Layout;

/// What is found out for each class of packets, when the first one of the class comes.
pub(super) struct ByClass<T, F> {
    find: F,
    found: [Option<T>; Class::COUNT],
}

impl<T, F: Fn(Class) -> T> ByClass<T, F> {
    pub(super) fn new(find: F) -> Self {
        Self { find, found: [const { None }; Class::COUNT] }
    }

    /// What is known of a packet's class.
    #[inline(always)]
    pub(super) fn of(&mut self, layout: &Layout, address: &Address) -> Option<&T> {
        let class = Class::index(address.outbound(), layout.is_ipv6(), layout.transport());
        let found = self.found.get_mut(class)?;
        Some(found.get_or_insert_with(|| (self.find)(Class::from_index(class))))
    }
}
