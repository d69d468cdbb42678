//! Layer REFLECT: handles that open and close, in any process of the network namespace, as their tables come and go.
//!
//! nftables announces changes; a process that is killed leaves without a word, which a look now and then finds. A handle that
//! opens and closes between two looks is not seen.
use super::super::kernel::fault::fault;
use super::super::kernel::sys::{self, Descriptor};
use super::super::sockets::names::Names;
use super::super::tables::nft::CHANGES;
use super::super::tables::registry::{Entry, Identity, entries};
use super::observed::{Feed, Observed, engine};
use crate::backend::{Error, OpenOptions};
use crate::engine::{Engine, Handle};
use std::collections::HashMap;
use std::time::Duration;

/// How often tables are looked for that went without a word.
const SELDOM: Duration = Duration::from_millis(200);

/// What is known of the handles that are open.
struct Tables {
    changes: Descriptor,
    socket: Descriptor,
    /// A handle of the engine stands for each.
    known: HashMap<String, (Identity, Handle)>,
}

/// Opens a handle of layer REFLECT.
pub(crate) fn open(options: OpenOptions) -> Result<Observed, Error> {
    let failed = |error| fault("listening to nftables", error);
    let changes = sys::netlink(&[CHANGES]).map_err(failed)?;
    let socket = sys::netlink(&[]).map_err(failed)?;
    let mut tables = Tables { changes, socket, known: HashMap::new() };
    let engine = engine();
    // What is open already is told of first.
    tables.look(&engine);
    Observed::open(engine, options, None, Names::default(), tables)
}

impl Tables {
    fn look(&mut self, engine: &Engine) {
        // A look that fails is made up for by the next one.
        let Ok(entries) = entries(&self.socket) else { return };
        let is_there = |name: &str, identity: &Identity| {
            entries.iter().any(|entry| entry.table == name && entry.identity == *identity)
        };
        self.known.retain(|name, (identity, _)| is_there(name, identity));
        for entry in &entries {
            if !self.known.contains_key(&entry.table)
                && let Some(handle) = stand_in(engine, entry)
            {
                self.known.insert(entry.table.clone(), (entry.identity.clone(), handle));
            }
        }
    }
}

fn stand_in(engine: &Engine, entry: &Entry) -> Option<Handle> {
    let Identity { process_id, opened_at, .. } = entry.identity;
    engine.open_as(entry.options()?, process_id, Some(opened_at)).ok()
}

impl Feed for Tables {
    fn feed(&mut self, engine: &Engine, ended: &Descriptor) {
        if sys::wait_readable(&[ended, &self.changes], Some(SELDOM)).is_err() {
            std::thread::sleep(SELDOM);
        }
        let mut buffer = [0; 8192];
        // What changed is looked up, whatever the announcement says.
        while sys::receive(&self.changes, &mut buffer, false).is_ok() {}
        self.look(engine);
    }
}
