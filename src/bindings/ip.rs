//! IP addresses as Python has them: `ipaddress` objects out, those or text in.
use crate::address::IpWords;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyString, PyType};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address given as text or as an object of the module `ipaddress`.
pub(super) struct IpAddress(pub(super) IpAddr);

impl IpAddress {
    /// Four words, the first one least significant; IPv4 is mapped.
    pub(super) fn mapped_words(&self) -> IpWords {
        let bits = match self.0 {
            IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
            IpAddr::V6(address) => address.to_bits(),
        };
        [bits as u32, (bits >> 32) as u32, (bits >> 64) as u32, (bits >> 96) as u32]
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for IpAddress {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(text) = object.cast::<PyString>() {
            let text = text.to_str()?;
            return text.parse().map(Self).map_err(|_| {
                PyValueError::new_err(format!(
                    "{text:?} is no IP address; give one such as '192.0.2.1' or '2001:db8::1'"
                ))
            });
        }
        let wrong = || PyValueError::new_err("an address is text or an object of the module ipaddress");
        let packed = object.getattr("packed").map_err(|_| wrong())?;
        let packed = packed.cast::<PyBytes>().map_err(|_| wrong())?.as_bytes();
        if let Ok(bytes) = <[u8; 4]>::try_from(packed) {
            Ok(Self(Ipv4Addr::from(bytes).into()))
        } else if let Ok(bytes) = <[u8; 16]>::try_from(packed) {
            Ok(Self(Ipv6Addr::from(bytes).into()))
        } else {
            Err(wrong())
        }
    }
}

static IPV4: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static IPV6: PyOnceLock<Py<PyType>> = PyOnceLock::new();

/// The `ipaddress` object of an address.
pub(super) fn ip_object(py: Python<'_>, address: IpAddr) -> PyResult<Bound<'_, PyAny>> {
    match address {
        IpAddr::V4(address) => IPV4.import(py, "ipaddress", "IPv4Address")?.call1((address.to_bits(),)),
        IpAddr::V6(address) => IPV6.import(py, "ipaddress", "IPv6Address")?.call1((address.octets().as_slice(),)),
    }
}

/// The `ipaddress` object of four words, the first one least significant; a mapped address reads as IPv4.
pub(super) fn ip_from_words(py: Python<'_>, words: IpWords) -> PyResult<Bound<'_, PyAny>> {
    let bits = words.iter().rev().fold(0_u128, |bits, word| bits << 32 | u128::from(*word));
    let address = Ipv6Addr::from_bits(bits);
    ip_object(py, address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4))
}
