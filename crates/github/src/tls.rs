//! The HTTP client beneath octocrab.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kit::{Env, Failure};
use octocrab::OctoBody;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

const CONNECT: Duration = Duration::from_secs(5);

pub(crate) type HttpClient = Client<HttpsConnector<HttpConnector>, OctoBody>;

/// rustls with aws-lc-rs and the system's roots (`SSL_CERT_FILE` and `SSL_CERT_DIR` replace them), to which
/// `AWS_CA_BUNDLE` adds: behind a proxy that opens TLS, the one bundle serves both clouds.
///
/// Where a machine has no certificates at all, `http://` still works; `https://` then fails with `UnknownIssuer`, which
/// the error's help explains.
pub(crate) fn http_client(env: &Env) -> Result<HttpClient, Failure> {
    let mut roots = RootCertStore::empty();
    // Certificates that can't be read are left out, as every TLS client does with the system's.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = env.get("AWS_CA_BUNDLE") {
        let certificates = bundle(Path::new(path)).map_err(|error| {
            Failure::refused(format!("read the certificates of AWS_CA_BUNDLE, {path}"))
                .because(error)
                .help("correct AWS_CA_BUNDLE or unset it to use the system's certificates")
        })?;
        roots.add_parsable_certificates(certificates);
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::refused("set up TLS for GitHub").because(error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut http = HttpConnector::new();
    http.set_connect_timeout(Some(CONNECT));
    http.set_nodelay(true);
    http.enforce_http(false);
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_or_http()
        .enable_http1()
        .wrap_connector(http);
    Ok(Client::builder(TokioExecutor::new()).build(connector))
}

fn bundle(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let pem = std::fs::read(path)?;
    let certificates =
        CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>().map_err(io::Error::other)?;
    if certificates.is_empty() {
        return Err(io::Error::other("it holds no certificate"));
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_without_certificates_is_refused_by_name() {
        let env: Env = [("AWS_CA_BUNDLE", "/dev/null")].into_iter().collect();
        let refused = http_client(&env).unwrap_err();
        assert!(refused.to_string().contains("AWS_CA_BUNDLE"), "{refused}");
        assert_eq!(refused.chain(), ["it holds no certificate"]);
    }
}
