//! Certificates made for one test: an authority of its own, and servers that show what it signed.

use std::io;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;
use tokio_rustls::TlsAcceptor;

/// A certificate authority that nobody trusts yet.
#[derive(Debug)]
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// A new one, with its own key.
    pub fn new() -> io::Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().map_err(io::Error::other)?;
        CertifiedIssuer::self_signed(params, key).map(Self).map_err(io::Error::other)
    }

    /// Its certificate, for a `--ca-file`.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// What a TLS server needs to be `name`, with a certificate that is valid from `from` until `until`.
    pub fn acceptor(
        &self,
        name: &str,
        from: OffsetDateTime,
        until: OffsetDateTime,
    ) -> io::Result<TlsAcceptor> {
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let mut params = CertificateParams::new([name.to_owned()]).map_err(io::Error::other)?;
        params.not_before = from;
        params.not_after = until;
        let certificate = params.signed_by(&key, &self.0).map_err(io::Error::other)?;
        shows(certificate.der().clone(), &key)
    }

    /// A server that shows the authority's own certificate, as one does whose certificate was made by a bare `openssl req -x509`.
    pub fn own_acceptor(&self) -> io::Result<TlsAcceptor> {
        shows(self.0.der().clone(), self.0.key())
    }
}

fn shows(certificate: CertificateDer<'static>, key: &KeyPair) -> io::Result<TlsAcceptor> {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .map_err(io::Error::other)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
