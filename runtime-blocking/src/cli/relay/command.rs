//! The options of `relay`.

use argh::FromArgs;

/// Start the relay: OAuth, devices, end-to-end-encrypted sessions, shares.
#[derive(FromArgs)]
#[argh(
    subcommand,
    name = "relay",
    help_triggers("-h", "--help"),
    example = "JWT_SIGNING_KEY=at-least-thirty-two-bytes-long-key {command_name}\n\
               PORT=8091 OAUTH_DEFAULT_CLIENT_ID=commands-desktop-public {command_name}\n\
               AUTH_MODE=oidc PUBLIC_BASE_URL=https://relay.example.com {command_name} --bind 0.0.0.0 --allow-remote",
    note = "It takes the variables of the Commands.com gateway, from the environment and below it from .env in the working directory\n\
            (DOTENV_PATH names another file, - none). JWT_SIGNING_KEY must be there; AUTH_MODE is demo, oidc or firebase.\n\
            PUBLIC_BASE_URL is how clients reach it. Variables of its own begin with RELAY_; all are in spec/relay.md.\n\n\
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
    #[argh(switch)]
    pub(in crate::cli) allow_remote: bool,
    /// folder for state
    #[argh(option, arg_name = "dir")]
    pub(in crate::cli) state_dir: Option<String>,
    /// certificate of the listener (PEM): TLS
    #[argh(option, arg_name = "file")]
    pub(in crate::cli) tls_cert: Option<String>,
    /// private key of the certificate (PEM)
    #[argh(option, arg_name = "file")]
    pub(in crate::cli) tls_key: Option<String>,
    /// log what happens, not only what is wrong
    #[argh(switch)]
    pub(in crate::cli) verbose: bool,
    /// print one line of JSON
    #[argh(switch)]
    pub(in crate::cli) json: bool,
}
