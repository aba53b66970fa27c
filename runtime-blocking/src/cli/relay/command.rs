//! The options of `relay`.

use argh::FromArgs;

/// Start the relay: OAuth, devices, end-to-end-encrypted sessions, shares.
#[derive(FromArgs)]
#[argh(
    subcommand,
    name = "relay",
    help_triggers("-h", "--help"),
    example = "JWT_SIGNING_KEY=$(openssl rand -hex 32) {command_name} --port 8091\n\
               JWT_SIGNING_KEY=... AUTH_MODE=oidc OIDC_ISSUER_URL=https://id.example.com OIDC_CLIENT_ID=portcullis \\\n    \
               PUBLIC_BASE_URL=https://relay.example.com {command_name} --bind 192.0.2.7 --allow-remote \\\n    \
               --tls-cert server.crt --tls-key server.key",
    note = "It takes the variables of the Commands.com gateway, from the environment and below it from .env in the working directory\n\
            (DOTENV_PATH names another file, - none). Those that matter most:\n\n\
            JWT_SIGNING_KEY        must be there, at least 32 bytes; every key is derived from it, so keep it\n\
            AUTH_MODE              demo (the default), oidc or firebase: who says who users are\n\
            OIDC_ISSUER_URL, OIDC_CLIENT_ID; FIREBASE_PROJECT_ID    the provider of those modes\n\
            PUBLIC_BASE_URL        how clients reach it (http://localhost and the port)\n\
            PORT, RELAY_BIND, RELAY_ALLOW_REMOTE, RELAY_TLS_CERT, RELAY_TLS_KEY    as the options\n\
            ALLOW_ORIGINS          pages of these origins may use it (*)\n\
            REDIRECT_ALLOWLIST     where a login may lead\n\
            RELAY_TRUSTED_PROXIES  networks of proxies whose word on client addresses counts\n\
            RELAY_ALLOWED_NETWORKS who is served (everybody)\n\
            RELAY_METRICS_TOKEN    serves /metrics to whoever has it\n\
            RELAY_MAX_...          limits\n\n\
            All are in spec/relay.md, section 1. A value that cannot be read means the default, and a warning says so.\n\n\
            In demo mode everybody is who they say they are: it is for this machine alone, unless --allow-remote says otherwise.\n\n\
            SIGTERM and SIGINT let requests end, then close every connection; a second signal ends it at once. SIGHUP reads the\n\
            .env file and the certificate again.",
    error_code(1, "The relay could not be started; the reason is on standard error.")
)]
pub(in crate::cli) struct RelayCommand {
    /// address to listen on (RELAY_BIND, 127.0.0.1)
    #[argh(option, arg_name = "host")]
    pub(in crate::cli) bind: Option<String>,
    /// port to listen on (PORT, 8080); 0 picks a free one
    #[argh(option, arg_name = "n")]
    pub(in crate::cli) port: Option<String>,
    /// allow an address that other machines reach
    /// (RELAY_ALLOW_REMOTE)
    #[argh(switch)]
    pub(in crate::cli) allow_remote: bool,
    /// folder for state; the relay's is the folder relay in it
    #[argh(option, arg_name = "dir")]
    pub(in crate::cli) state_dir: Option<String>,
    /// certificate of the listener (PEM): TLS (RELAY_TLS_CERT)
    #[argh(option, arg_name = "file")]
    pub(in crate::cli) tls_cert: Option<String>,
    /// private key of the certificate (PEM; RELAY_TLS_KEY)
    #[argh(option, arg_name = "file")]
    pub(in crate::cli) tls_key: Option<String>,
    /// log what happens, not only what is wrong
    #[argh(switch)]
    pub(in crate::cli) verbose: bool,
    /// print one line of JSON
    #[argh(switch)]
    pub(in crate::cli) json: bool,
}
