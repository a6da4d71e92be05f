//! The certificates that HTTPS clients of the steps trust, and the one TLS stack that they speak.

use std::path::Path;
use std::sync::Arc;

use kit::{Env, Failure};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

/// A client's side of TLS, that trusts the certificates of `ca_file` (what `--ca-file` names) alone when it is given, else those
/// of `SSL_CERT_FILE` and `SSL_CERT_DIR` or, without these, the system's, and those of `AWS_CA_BUNDLE` in addition.
///
/// Where none is `needed`, a machine that has none, or wrong ones, does no harm.
///
/// # Errors
/// A file that can't be read, or has no certificate.
pub fn client(ca_file: Option<&Path>, env: &Env, needed: bool) -> Result<ClientConfig, Failure> {
    Ok(ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::failed("set up TLS").because(error))?
        .with_root_certificates(roots(ca_file, env, needed)?)
        .with_no_client_auth())
}

fn roots(ca_file: Option<&Path>, env: &Env, needed: bool) -> Result<RootCertStore, Failure> {
    let mut store = RootCertStore::empty();
    if let Some(path) = ca_file {
        store.add_parsable_certificates(pem(path).map_err(|why| {
            Failure::usage(format!("read the certificates of --ca-file {}", path.display()))
                .because(why)
                .help("name a PEM file with at least one certificate")
        })?);
        return Ok(store);
    }
    if !needed {
        return Ok(store);
    }
    let (file, dir) = (env.get("SSL_CERT_FILE"), env.get("SSL_CERT_DIR"));
    if file.is_none() && dir.is_none() {
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    } else {
        let found = rustls_native_certs::load_certs_from_paths(file.map(Path::new), dir.map(Path::new));
        if found.certs.is_empty() {
            let mut failure = Failure::refused("read the certificates of SSL_CERT_FILE and SSL_CERT_DIR")
                .help("correct these variables, or unset them to use the system's certificates");
            failure = match found.errors.into_iter().next() {
                Some(error) => failure.because(error),
                None => failure.because("there is no certificate"),
            };
            return Err(failure);
        }
        store.add_parsable_certificates(found.certs);
    }
    if let Some(path) = env.get("AWS_CA_BUNDLE") {
        store.add_parsable_certificates(pem(Path::new(path)).map_err(|why| {
            Failure::refused(format!("read the certificates of AWS_CA_BUNDLE, {path}"))
                .because(why)
                .help("correct AWS_CA_BUNDLE, or unset it")
        })?);
    }
    Ok(store)
}

fn pem(path: &Path) -> Result<Vec<CertificateDer<'static>>, kit::Cause> {
    let certificates: Vec<_> =
        CertificateDer::pem_slice_iter(&std::fs::read(path)?).collect::<Result<_, _>>()?;
    if certificates.is_empty() { Err("there is no certificate in it".into()) } else { Ok(certificates) }
}
