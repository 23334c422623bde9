//! `serve`: run until a signal, or until storage fails.

use super::Serve;
use anyhow::Context as _;
use deckport_collector::config::{AcmeConfig, OidcConfig, OwnCertificate, Secret};
use deckport_collector::{Collector, Config};
use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

pub(super) async fn run(options: Serve) -> anyhow::Result<ExitCode> {
    let filter = tracing_subscriber::EnvFilter::try_from_env("DECKPORT_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();

    let mut config = Config::new(&options.data);
    if let Some(database) = options.database {
        config.database = database;
    }
    config.listen = Some(options.listen);
    config.plain_http = options.plain_http;
    config.announce = !options.no_announce;
    config.names = options.names;
    config.certificate = options
        .certificate
        .zip(options.certificate_key)
        .map(|(certificate, key)| OwnCertificate { certificate, key });
    config.acme = options.acme.then(|| AcmeConfig {
        directory: options.acme_directory,
        contacts: options.acme_contacts,
        ..AcmeConfig::default()
    });
    if let Some((issuer, client_id)) = options.oidc_issuer.zip(options.oidc_client_id) {
        let secret = options.oidc_client_secret_file.as_deref().map(secret).transpose()?;
        config.oidc = Some(OidcConfig {
            issuer,
            client_id,
            client_secret: secret,
            name: options.oidc_name,
            scopes: options.oidc_scopes,
            create: options.oidc_create,
            role_claim: options.oidc_role_claim,
            roles: options.oidc_roles.into_iter().collect(),
        });
    }
    config.trust_ca = options.trust_ca;
    config.venue = options.venue;
    config.silence_after = Duration::from_secs(options.silence_after);
    config.proof_for = Duration::from_secs(options.proof_for);
    config.bounds.wal_bytes = options.wal_bytes.unwrap_or(config.bounds.wal_bytes);
    config.bounds.tail_bytes = options.tail_bytes.unwrap_or(config.bounds.tail_bytes);
    // Handlers stand before the start is announced: whoever reads the line may send the signal.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let collector = Collector::start(config).await.context("the collector did not start")?;
    if let Some(address) = collector.listen_addr() {
        let scheme = if options.plain_http { "http" } else { "https" };
        // As it is reached from this machine; from elsewhere by a name or address of this machine's.
        let everywhere = address.ip().is_unspecified();
        let address =
            if everywhere { format!("localhost:{}", address.port()) } else { address.to_string() };
        println!("Collector: https://{address}#{}", collector.pin());
        println!("Compare:   {}", collector.pin().short());
        // Where it is kept, as a service's output is, it would stand for ever.
        if std::io::stdout().is_terminal() {
            println!("Open:      {scheme}://{address}/#token={}", collector.token());
        } else {
            println!("Open:      {scheme}://{address}/ (log in, or with the token)");
        }
        println!("Token:     {}", options.data.join("token").display());
    }
    let failed = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        reason = collector.stopped() => Some(reason),
    };
    let shutdown = collector.shutdown().await;
    if let Some(reason) = failed {
        anyhow::bail!("stopped: {reason}; what was acknowledged is on the disk, start it again");
    }
    shutdown?;
    Ok(ExitCode::SUCCESS)
}

/// A secret in a file of its own.
fn secret(path: &Path) -> anyhow::Result<Secret> {
    let text = std::fs::read_to_string(path);
    let text = text.with_context(|| format!("the secret in {} cannot be read", path.display()))?;
    anyhow::ensure!(!text.trim().is_empty(), "{} holds no secret", path.display());
    Ok(Secret::new(text.trim()))
}
