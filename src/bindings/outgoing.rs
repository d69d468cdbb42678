//! Sending one packet: a batch of one, used again each time.
use super::address::PyAddress;
use super::error::OrRaise;
use super::packet::PyPacket;
use crate::backend::Handle;
use crate::batch::{Batch, Origin};
use crate::packet::ParseError;
use pyo3::prelude::*;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The batch that single packets go out in.
#[derive(Default)]
pub(super) struct Outgoing {
    batch: Mutex<Batch>,
}

impl Outgoing {
    fn lock(&self) -> MutexGuard<'_, Batch> {
        self.batch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends the one packet that `fill` appends.
    fn send(
        &self,
        py: Python<'_>,
        handle: &Handle,
        fill: impl FnOnce(&mut Batch) -> Result<(), ParseError>,
    ) -> PyResult<()> {
        let mut batch = std::mem::take(&mut *self.lock());
        batch.clear();
        fill(&mut batch).or_raise(py)?;
        let sent = py.detach(|| {
            let sent = handle.send(&mut batch, None);
            *self.lock() = batch;
            sent
        });
        sent.or_raise(py).map(|_| ())
    }

    /// Sends a packet, with another address if one is given. One that this handle received is re-injected by that; later
    /// sends, and sends through other handles, inject copies.
    pub(super) fn send_packet(
        &self,
        py: Python<'_>,
        handle: &Handle,
        packet: &PyPacket,
        address: Option<&PyAddress>,
    ) -> PyResult<()> {
        let given = address.map(PyAddress::record);
        let is_own = packet.is_of(handle);
        self.send(py, handle, |batch| {
            packet.slot().lock().append_to(batch)?;
            let Some(record) = batch.records_mut().last_mut() else { return Ok(()) };
            if let Some(address) = given {
                record.address = address;
                record.changed = true;
            }
            if !is_own {
                record.origin = Origin::Injected(None);
            }
            Ok(())
        })?;
        if !is_own {
            return Ok(());
        }
        let mut slot = packet.slot().lock();
        if let Origin::Received(token) = slot.origin() {
            slot.set_origin(Origin::Injected(Some(token)));
        }
        Ok(())
    }

    /// Sends the bytes of a new packet.
    pub(super) fn send_bytes(
        &self,
        py: Python<'_>,
        handle: &Handle,
        bytes: &[u8],
        address: &PyAddress,
    ) -> PyResult<()> {
        self.send(py, handle, |batch| {
            batch.push_parsed(bytes, &address.record(), 0, Origin::Injected(None))?;
            if let Some(record) = batch.records_mut().last_mut() {
                // A new packet counts as changed.
                record.changed = true;
            }
            Ok(())
        })
    }
}
