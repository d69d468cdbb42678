//! Extensions of the older tables that rules here use: having the kernel load their modules.
//!
//! Source: `linux/netfilter/nf_tables_compat.h`. A rule names an extension, and the kernel looks for a module of that name and
//! of its table's family. For tables of both IP versions at once there is none of such a name, so that what no other program
//! has used yet is missing there. Asked about by the name of a family that has it, it is loaded.
use super::super::kernel::netlink::{Writer, subsystem};
use super::super::kernel::sys::{self, Descriptor};
use super::nft::answers;
use std::io::Result;

/// The message that asks about an extension.
const GET: u8 = 0;
/// A family whose extensions have names, all of which are for both IP versions.
const IPV4: u8 = 2;
/// Kinds of extensions.
const MATCH: u32 = 0;
const TARGET: u32 = 1;
/// What rules here use, each with its revision.
const USED: [(&str, u32, u32); 3] = [("bpf", 1, MATCH), ("NFQUEUE", 3, TARGET), ("NFLOG", 0, TARGET)];

/// Has the kernel load what it has of the extensions.
pub(crate) fn load(socket: &Descriptor) -> Result<()> {
    for (name, revision, kind) in USED {
        let mut writer = Writer::default();
        writer.begin(subsystem::EXTENSIONS, GET, 0, 0, IPV4, 0);
        writer.put_text(1, name);
        writer.put_u32(2, revision);
        writer.put_u32(3, kind);
        writer.finish();
        sys::send(socket, writer.bytes())?;
        // Whether it is there shows when a rule names it.
        answers(socket, |_| {})?;
    }
    Ok(())
}
