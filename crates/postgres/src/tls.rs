//! TLS with libpq's verification modes.

use std::sync::Arc;

use kit::Failure;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{SslMode, Target};

/// The TLS side of a connection to `target`.
pub(crate) fn connector(target: &Target) -> Result<MakeRustlsConnect, Failure> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = verifier(target, &provider)?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::failed("set up TLS for the database").because(error).untouched(true))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

fn verifier(target: &Target, provider: &Arc<CryptoProvider>) -> Result<Verifier, Failure> {
    let mut verifier = Verifier {
        provider: provider.clone(),
        chain: None,
        pinned: Vec::new(),
        check_name: target.sslmode == SslMode::VerifyFull,
    };
    if let Some(path) = &target.root_cert {
        let what = format!("read the root certificates {}", path.display());
        let unreadable = |error: rustls_pki_types::pem::Error| {
            Failure::usage(&what).because(error).help(
                "--ssl-root-cert (PGSSLROOTCERT) names a PEM file; for RDS https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem",
            )
        };
        verifier.pinned = CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(unreadable)?;
        let mut roots = RootCertStore::empty();
        let (usable, _) = roots.add_parsable_certificates(verifier.pinned.iter().cloned());
        if usable == 0 {
            return Err(Failure::usage(&what).because("it holds no certificate"));
        }
        let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .build()
            .map_err(|error| Failure::usage(&what).because(error))?;
        verifier.chain = Some(chain);
    }
    Ok(verifier)
}

/// Checks what the mode asks for: nothing (no roots), the chain, or the chain and the name.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    chain: Option<Arc<WebPkiServerVerifier>>,
    pinned: Vec<CertificateDer<'static>>,
    check_name: bool,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.check_name => Ok(ServerCertVerified::assertion()),
            // A server's self-signed certificate that is itself listed as a root, which OpenSSL accepts and webpki does
            // not (CaUsedAsEndEntity): its bytes are what was asked for. For verify-full its name still has to fit.
            Err(Error::InvalidCertificate(_)) if self.pinned.iter().any(|root| root == end_entity) => {
                if self.check_name {
                    let certificate = rustls::server::ParsedCertificate::try_from(end_entity)?;
                    rustls::client::verify_server_name(&certificate, server_name)?;
                }
                Ok(ServerCertVerified::assertion())
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
