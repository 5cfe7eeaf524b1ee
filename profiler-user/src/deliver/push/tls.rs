//! Whom we believe and who we are → rustls' configuration. By ring; reqwest's own choice would need another library.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::config::TlsConfig;
use super::watched_file::{FileError, WatchedFile};

/// Offered to servers: HTTP/2 packs repeated headers to a byte each.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The certificate authorities of the world: the host's, or those compiled in where the host has none, as in an image
/// made from scratch. Shared by all endpoints.
#[derive(Clone, Debug)]
pub struct WebRoots(Arc<RootCertStore>);

impl WebRoots {
    /// Reads the host's store, some milliseconds (`SSL_CERT_FILE` and `SSL_CERT_DIR` name another).
    pub fn of_host() -> Self {
        // What is wrong with single files of the store is no concern of ours.
        Self::of_store(rustls_native_certs::load_native_certs().certs)
    }

    /// From a store that may be empty.
    pub fn of_store(store: Vec<CertificateDer<'static>>) -> Self {
        let mut roots = RootCertStore::empty();
        // Some stores have certificates that are none any more; the others count.
        roots.add_parsable_certificates(store);
        if roots.is_empty() {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        Self(Arc::new(roots))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Never, unless the compiled-in ones were.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Why there is no TLS with these files.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("certificate and key: {0}")]
    Rustls(#[from] rustls::Error),
}

/// The files of an endpoint's TLS.
#[derive(Debug)]
pub(super) struct TlsFiles {
    ca: Option<WatchedFile>,
    identity: Option<(WatchedFile, WatchedFile)>,
    insecure_skip_verify: bool,
}

impl TlsFiles {
    pub(super) fn new(config: &TlsConfig) -> Self {
        let identity = config.cert_file.as_deref().zip(config.key_file.as_deref());
        Self {
            ca: config.ca_file.as_deref().map(WatchedFile::new),
            identity: identity.map(|(cert, key)| (WatchedFile::new(cert), WatchedFile::new(key))),
            insecure_skip_verify: config.insecure_skip_verify,
        }
    }

    /// Whether [`Self::client_config`] would read something new.
    pub(super) fn have_changed(&self) -> bool {
        let identity = self.identity.iter().flat_map(|(cert, key)| [cert, key]);
        self.ca.iter().chain(identity).any(WatchedFile::has_changed)
    }

    /// Reads the files.
    pub(super) fn client_config(&mut self, web_roots: &WebRoots) -> Result<ClientConfig, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
        let builder = if self.insecure_skip_verify {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyServer(provider)))
        } else {
            let roots = match &mut self.ca {
                Some(file) => Arc::new(own_roots(file)?),
                None => web_roots.0.clone(),
            };
            builder.with_root_certificates(roots)
        };
        let mut config = match &mut self.identity {
            Some((cert, key)) => builder.with_client_auth_cert(certificates(cert)?, private_key(key)?)?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
        Ok(config)
    }
}

fn own_roots(file: &mut WatchedFile) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|_| file.bad("has a certificate that is no authority's"))?;
    }
    Ok(roots)
}

fn certificates(file: &mut WatchedFile) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let pem = file.read()?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(file.bad("has no certificates in PEM")),
    }
}

fn private_key(file: &mut WatchedFile) -> Result<PrivateKeyDer<'static>, FileError> {
    let pem = file.read()?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|_| file.bad("has no private key in PEM"))
}

/// Believes any certificate, but the server must still hold its key.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_store_the_compiled_in_roots_count() {
        let compiled_in = WebRoots::of_store(Vec::new());
        assert!(compiled_in.len() > 100, "{}", compiled_in.len());
        let garbage = WebRoots::of_store(vec![CertificateDer::from(b"no certificate".to_vec())]);
        assert_eq!(garbage.len(), compiled_in.len());
    }
}
