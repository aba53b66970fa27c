//! Trust in exactly one certificate: for asking the gateway of this machine, whose certificate lies in a file here. No name
//! is compared and no chain is built: a gateway may well have a certificate for a name that leads elsewhere. That the peer
//! holds the key is proven all the same.

use std::path::Path;
use std::sync::Arc;

use portcullis_core::effect::{Fault, FaultKind};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{self, CryptoProvider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};

use super::{TlsSession, refused};
use crate::effects::fault::fault;

/// A session with the peer whose certificate is the first one in the PEM file.
///
/// # Errors
/// A file that cannot be read or holds no certificate.
pub fn pinned_session(certificate: &Path, server: ServerName<'static>) -> Result<TlsSession, Fault> {
    let about = |why: &dyn std::fmt::Display| fault(FaultKind::Tls, format!("{}: {why}", certificate.display()));
    let pinned = CertificateDer::from_pem_file(certificate).map_err(|error| about(&error))?;
    let provider = Arc::new(crypto::ring::default_provider());
    let verifier = Pinned {
        certificate: pinned,
        provider: Arc::clone(&provider),
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| refused(&error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    let connection = ClientConnection::new(Arc::new(config), server).map_err(|error| refused(&error))?;
    Ok(TlsSession::new(connection.into()))
}

#[derive(Debug)]
struct Pinned {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if *end_entity == self.certificate {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::General(
                "the gateway shows another certificate than its file holds; SIGHUP has it read the file again".into(),
            ))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
