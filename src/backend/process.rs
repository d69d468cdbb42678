//! The process that a packet belongs to, as far as a system tells.

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub id: u32,
    /// Its name, without folders; `None` where the system does not tell.
    pub name: Option<String>,
    /// The path of its program; `None` where the system does not tell.
    pub path: Option<String>,
}

impl Process {
    /// A process of which only the number is known.
    pub const fn from_id(id: u32) -> Self {
        Self { id, name: None, path: None }
    }
}
