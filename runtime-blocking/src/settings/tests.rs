//! The sentences of `spec/settings.md`, proved.

use std::path::PathBuf;
use std::time::Duration;

use portcullis_core::random::Seed;
use portcullis_core::settings::{AgentKind, SessionReset};

use super::*;

/// A folder that is removed when the test ends, by its real path.
struct Scratch(
    PathBuf,
    #[expect(dead_code, reason = "held for its end")] tempfile::TempDir,
);

impl Scratch {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self(folder.path().canonicalize().unwrap(), folder)
    }

    fn file(&self, text: &str) -> PathBuf {
        let path = self.0.join("settings.json5");
        std::fs::write(&path, text).unwrap();
        path
    }
}

fn environment(more: &[(&str, &str)]) -> Environment {
    [("HOME", "/nowhere/home"), ("PATH", "/bin:/usr/bin")]
        .iter()
        .chain(more)
        .copied()
        .collect()
}

fn load_with(file: Option<&Path>, env: &[(&str, &str)], set: &[&str], flags: &Flags) -> Result<Loaded, Problems> {
    let set: Vec<String> = set.iter().map(|&set| set.to_owned()).collect();
    let environment = environment(env);
    let sources = Sources {
        file,
        environment: &environment,
        set: &set,
        flags,
        working_dir: Path::new("/work-dir"),
        purpose: Purpose::Gateway,
    };
    load(&sources, fresh_token(Seed([5; 32])))
}

fn load_set(set: &[&str]) -> Result<Loaded, Problems> {
    load_with(None, &[], set, &Flags::default())
}

fn problems(result: Result<Loaded, Problems>) -> Vec<String> {
    result.unwrap_err().0.iter().map(ToString::to_string).collect()
}

#[test]
fn without_sources_the_defaults_hold_and_the_door_is_locked() {
    let loaded = load_set(&[]).unwrap();
    assert_eq!((&loaded.bind, loaded.port), (&Bind::Host("127.0.0.1".into()), 18_789));
    assert_eq!(
        loaded.core.gateway,
        portcullis_core::settings::GatewaySettings::default()
    );
    assert_eq!(loaded.token, Some(fresh_token(Seed([5; 32]))));
    assert_eq!(loaded.core.auth.tokens, loaded.token.clone().map(|token| vec![token]));
    assert_eq!(loaded.state_dir, Path::new("/nowhere/home/.local/state/portcullis"));
    assert_eq!(loaded.core.operator.home_dir, "/nowhere/home/.local/state/portcullis");
    assert_eq!(
        loaded.core.operator.sessions_dir,
        "/nowhere/home/.local/state/portcullis/sessions"
    );
    let [goat] = loaded.core.agents.agents.as_slice() else {
        panic!("one agent")
    };
    assert_eq!((goat.id.as_str(), &goat.kind), ("goat", &AgentKind::Echo));
    assert_eq!(
        goat.workspace_dir,
        "/nowhere/home/.local/state/portcullis/workspaces/goat"
    );
}

#[test]
fn flags_stand_above_set_above_environment_above_file_above_defaults() {
    let scratch = Scratch::new();
    let file = scratch.file("{gateway: {port: 1001, host: '::1', path: 'file', auth: {token: 'file-token'}}}");
    let file = Some(file.as_path());
    let env = [
        ("OPENCLAW_GATEWAY_PORT", "1002"),
        ("OPENCLAW_GATEWAY_TOKEN", "claw-token"),
        ("OPENGOAT_GATEWAY_TOKEN", "goat-token"),
    ];
    let flags = Flags {
        port: Some("1004".into()),
        token: Some("flag-token".into()),
        ..Flags::default()
    };
    let set = ["gateway.port=1003", "gateway.auth.token=set-token"];
    let seen = |env: &[(&str, &str)], set: &[&str], flags: &Flags| {
        let loaded = load_with(file, env, set, flags).unwrap();
        assert_eq!(
            (&loaded.bind, loaded.core.gateway.path.as_str()),
            (&Bind::Host("::1".into()), "/file")
        );
        (loaded.port, loaded.token.unwrap().reveal().to_owned())
    };
    assert_eq!(seen(&[], &[], &Flags::default()), (1001, "file-token".into()));
    assert_eq!(seen(&env[..2], &[], &Flags::default()), (1002, "claw-token".into()));
    assert_eq!(seen(&env, &[], &Flags::default()), (1002, "goat-token".into()));
    assert_eq!(seen(&env, &set, &Flags::default()), (1003, "set-token".into()));
    assert_eq!(seen(&env, &set, &flags), (1004, "flag-token".into()));
}

#[test]
fn every_mistake_is_told_at_once_and_no_value_is_shown() {
    let scratch = Scratch::new();
    let file = scratch.file(
        r#"{
            "$schema": "for editors",
            gateway: {
                prot: 1, port: 70000, maxPayloadBytes: "many", tickIntervalMs: -1, handshakeTimeoutMs: 1.5,
                token: "hunter22hunter22", auth: { token: "short", mode: "open" }, http: 3,
                "auth.mode": "none", allowedOrigins: ["https://ok.example", "nonsense"],
            },
            session: { mode: "weekly" }, idempotency: { strictParams: 1 }, weather: {},
            agents: { list: [
                { id: "a", command: ["/no/such/program"] },
                { id: "a b", command: [] , workspacedir: "x" },
                { command: ["sh"] }, 7,
                { id: "dup", command: ["sh"] }, { id: "dup", command: ["sh"], workspaceDir: "missing" },
            ], workspaceRoots: ["missing", 5] },
        }"#,
    );
    let flags = Flags {
        port: Some("high".into()),
        bind: Some(String::new()),
        token: Some("1234567".into()),
        no_auth: true,
        ..Flags::default()
    };
    let result = load_with(
        Some(&file),
        &[("OPENGOAT_GATEWAY_TOKEN", "7777777")],
        &["gatewy.port=1", "nothing"],
        &flags,
    );
    let told = problems(result);
    let folder = scratch.0.display();
    for expected in [
        "gateway.prot: unknown key (did you mean gateway.port?)".to_owned(),
        "gateway.port: must be a whole number from 0 to 65535".into(),
        "gateway.maxPayloadBytes: must be a whole number of bytes from 0 to 4294967295, is text".into(),
        "gateway.tickIntervalMs: must be a whole number of milliseconds from 0 to 31536000000".into(),
        "gateway.handshakeTimeoutMs: must be a whole number of milliseconds from 0 to 31536000000".into(),
        "gateway.token: unknown key: use gateway.auth.token or OPENCLAW_GATEWAY_TOKEN".into(),
        "gateway.auth.token: must be at least 8 characters long; clients cannot send a shorter token".into(),
        "gateway.auth.mode: must be \"token\", \"password\", \"trusted-proxy\" or \"none\"".into(),
        "gateway.auth.mode: a key must not contain dots here; write one object inside the other".into(),
        "gateway.http: must be an object in braces, is a number".into(),
        "session.mode: must be \"daily\", \"idle\" or \"never\"".into(),
        "idempotency.strictParams: must be true or false, is a number".into(),
        "weather: unknown key (spec/settings.md lists those there are)".into(),
        "agent \"a\" command: /no/such/program is not a program that may be run".into(),
        "agents.list[1].id: must begin with a letter or digit and have only letters, digits, '-', '_' and '.'".into(),
        "agents.list[1].command: must be a list of texts: the program, then its arguments".into(),
        "agents.list[1].workspacedir: unknown key (did you mean workspaceDir?)".into(),
        "agents.list[2].id: is missing".into(),
        "agents.list[3]: must be an object {id, displayName, command, provider, model, systemPrompt, maxHistoryBytes, workspaceDir}, is a number".into(),
        "agents.list[5].id: another agent has this id already".into(),
        format!("agent \"dup\" workspaceDir: {folder}/missing is not a folder; make it first"),
        "agents.workspaceRoots[1]: must be a folder (text), is a number".to_owned(),
        format!("agents.workspaceRoots: {folder}/missing is not a folder"),
        "OPENGOAT_GATEWAY_TOKEN: must be at least 8 characters long; clients cannot send a shorter token".into(),
        "--set gatewy.port: unknown key (did you mean gateway.port?)".into(),
        "--set: must be path=json, for example gateway.rateLimitPerMinute=600".into(),
        "--port: must be a whole number from 0 to 65535, is text".into(),
        "--bind: must be an address or localhost, for example 127.0.0.1, ::1 or 100.64.0.7".into(),
        "--token: must be at least 8 characters long; clients cannot send a shorter token".into(),
        "--no-auth: does not go with --token; leave one of them out".into(),
    ] {
        assert!(told.contains(&expected), "{expected}\nin {told:#?}");
    }
    assert!(
        told.iter()
            .any(|line| line.starts_with("gateway.allowedOrigins: item 2 is wrong: origins are")),
        "{told:#?}"
    );
    assert_eq!(told.len(), 31, "{told:#?}");
    let all = told.join("\n");
    assert!(
        !all.contains("hunter22") && !all.contains("7777777") && !all.contains("1234567"),
        "{all}"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_a_mistake() {
    let scratch = Scratch::new();
    let told = |file: &Path| problems(load_with(Some(file), &[], &[], &Flags::default())).join("\n");
    assert!(told(Path::new("missing.json5")).starts_with("/work-dir/missing.json5: cannot be read: "));
    assert!(told(&scratch.0).ends_with("is not a file"));
    assert!(told(&scratch.file("{gateway: {auth: {token: 'hunter22hunter22' oops}}}")).contains("is not JSON5: "));
    assert!(!told(&scratch.file("{gateway: {auth: {token: 'hunter22hunter22' oops}}}")).contains("hunter22"));
    assert!(told(&scratch.file("[]")).contains("the file: must be an object in braces, is a list"));
    assert!(told(&scratch.file("{$include: 'x'}")).contains("$include: files are not included"));
    assert!(told(&scratch.file(&" ".repeat(1_048_577))).contains("is larger than 1048576 bytes"));
    let loaded = load_with(
        Some(&scratch.file("\u{feff}{gateway: {port: 7}}")),
        &[],
        &[],
        &Flags::default(),
    )
    .unwrap();
    assert_eq!(loaded.port, 7);
}

#[test]
fn every_number_below_its_floor_is_raised_to_it() {
    for key in keys::all() {
        let floor = match &key.kind {
            keys::Kind::Time { floor, .. } => *floor,
            keys::Kind::Count { floor, .. } | keys::Kind::Bytes { floor, .. } => u64::from(*floor),
            keys::Kind::Size { floor, .. } => *floor,
            _ => continue,
        };
        let read = |value: u64| {
            let (mut draft, mut problems) = (Draft::new(None), Vec::new());
            Reader::new(&mut draft, &mut problems, Source::File).at(key.path, &value.into());
            assert!(problems.is_empty(), "{problems:?}");
            match &key.kind {
                keys::Kind::Time { unit, field, .. } => {
                    u64::try_from(field(&mut draft).as_millis()).unwrap() / unit.millis()
                }
                keys::Kind::Count { field, .. } => u64::from(*field(&mut draft)),
                keys::Kind::Bytes { field, .. } => *field(&mut draft) as u64,
                keys::Kind::Size { field, .. } => *field(&mut draft),
                _ => unreachable!(),
            }
        };
        assert_eq!(read(0), floor, "{}", key.path);
        assert_eq!(read(floor + 1), floor + 1, "{}", key.path);
    }
}

#[test]
fn aliases_mean_the_same_and_exclude_each_other() {
    let loaded = load_set(&[
        "idempotency.ttlMs=5000",
        "idempotency.maxEntries=7",
        "gateway.allowedOrigins=['https://A.example']",
    ]);
    let core = loaded.unwrap().core;
    assert_eq!(core.operator.idempotency_ttl, Duration::from_secs(5));
    assert_eq!(core.operator.idempotency_max_entries, 7);
    assert_eq!(core.gateway.allowed_origins, ["https://a.example"]);
    let both = load_set(&["gateway={allowedOrigins: [], controlUi: {allowedOrigins: []}}"]);
    let expected = "--set gateway.controlUi.allowedOrigins: the same setting is given as gateway.allowedOrigins too; keep one of them";
    assert_eq!(problems(both), [expected]);
}

#[test]
fn set_takes_json5_and_plain_words() {
    let loaded = load_set(&[
        "gateway.rateLimitPerMinute=100000000",
        "gateway={auth: {rateLimit: {windowMs: 0x1000}}}",
        "gateway.host=localhost",
        "gateway.path=\"a=b\"",
        "gateway.maxInFlight=1e3",
        "session={mode: 'idle', idleMinutes: 5}",
        "gateway.port=1",
        "gateway.port=2",
    ]);
    let loaded = loaded.unwrap();
    assert_eq!(loaded.core.gateway.rate_limit_per_minute, 100_000_000);
    assert_eq!(loaded.core.gateway.max_in_flight, 1_000);
    assert_eq!(loaded.core.auth.window, Duration::from_millis(0x1000));
    assert_eq!(
        (&loaded.bind, loaded.core.gateway.path.as_str()),
        (&Bind::Host("localhost".into()), "/a=b")
    );
    assert_eq!(
        loaded.core.operator.session_reset,
        SessionReset::Idle(Duration::from_secs(300))
    );
    assert_eq!(loaded.port, 2);
}

#[test]
fn half_an_object_is_not_taken_for_a_word() {
    let told = problems(load_set(&["agents.list=[{id: 'a'"]));
    assert!(told[0].starts_with("--set agents.list: is not JSON5: "), "{told:?}");
}

#[test]
fn the_door_is_open_only_when_somebody_says_so() {
    for set in ["gateway.auth.mode='none'", "gateway.requireToken=false"] {
        let loaded = load_set(&[set]).unwrap();
        assert_eq!((loaded.token, loaded.core.auth.tokens), (None, None), "{set}");
    }
    let flags = Flags {
        no_auth: true,
        ..Flags::default()
    };
    assert_eq!(
        load_with(None, &[("OPENGOAT_GATEWAY_TOKEN", "goat-token")], &[], &flags)
            .unwrap()
            .token,
        None
    );
    // A stronger source closes it again.
    assert!(
        load_set(&["gateway.auth.mode=none", "gateway.requireToken=true"])
            .unwrap()
            .token
            .is_some()
    );
    let told = problems(load_set(&["gateway={requireToken: true, auth: {mode: 'none'}}"]));
    assert!(told[0].contains("contradict each other"), "{told:?}");
}

#[test]
fn agents_get_absolute_paths_and_their_own_folders() {
    let scratch = Scratch::new();
    std::fs::create_dir_all(scratch.0.join("ws")).unwrap();
    let file = scratch.file(
        "{agents: [{id: 'writer', displayName: 'The Writer', command: ['sh', '-c', 'cat'], workspaceDir: 'ws'},
                   {id: 'plain', command: ['/bin/sh']}]}",
    );
    let state = scratch.0.join("state");
    let flags = Flags {
        state_dir: Some(state.to_str().unwrap().into()),
        ..Flags::default()
    };
    let loaded = load_with(Some(&file), &[], &["agents.workspaceRoots=['/usr/../tmp']"], &flags).unwrap();
    let [writer, plain] = loaded.core.agents.agents.as_slice() else {
        panic!("two agents")
    };
    assert_eq!(
        (writer.id.as_str(), writer.display_name.as_str()),
        ("writer", "The Writer")
    );
    assert_eq!(writer.workspace_dir, scratch.0.join("ws").to_str().unwrap());
    let AgentKind::Command { program, args } = &writer.kind else {
        panic!("a program")
    };
    assert!(program.starts_with('/') && program.ends_with("/sh"), "{program}");
    assert_eq!(args, &["-c", "cat"]);
    assert_eq!(
        (plain.display_name.as_str(), plain.workspace_dir.as_str()),
        ("plain", state.join("workspaces/plain").to_str().unwrap())
    );
    assert_eq!(
        loaded.core.agents.workspace_roots,
        [Path::new("/tmp").canonicalize().unwrap().to_str().unwrap()]
    );

    assert_eq!(make_folders(&loaded).unwrap(), None);
    for folder in ["", "sessions", "workspaces/plain", "agents/writer"] {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(state.join(folder)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{folder}");
    }
}

#[test]
fn secrets_are_not_printed() {
    let flags = Flags {
        token: Some("hunter22hunter22".into()),
        ..Flags::default()
    };
    assert!(!format!("{flags:?}").contains("hunter22"));
    assert!(!format!("{:?}", load_with(None, &[], &[], &flags).unwrap()).contains("hunter22"));
}

proptest::proptest! {
    /// Whatever a file or an option holds: settings or mistakes come of it, never a panic.
    #[test]
    fn any_text_is_settings_or_mistakes(text in "[\\[\\]{}:,'\"a-z0-9.+x/*\\\\ -]{0,40}", index in 0..keys::all().count()) {
        let (mut draft, mut problems) = (Draft::new(None), Vec::new());
        let value = document::parse(&text).unwrap_or_else(|_| text.as_str().into());
        let mut reader = Reader::new(&mut draft, &mut problems, Source::File);
        reader.root(&value);
        reader.at(keys::all().nth(index).unwrap().path, &value);
        reader.at(&text, &value);
    }
}

#[test]
fn agents_may_answer_through_providers_and_tools_may_be_programs() {
    use portcullis_core::settings::ProviderKey;
    let loaded = load_set(&[
        "agents=[{id: 'any', provider: 'active'}, {id: 'k', provider: 'kimi', model: 'kimi-k2', systemPrompt: 'Be brief.'}]",
        "tools.commands=[{name: 'date', command: ['sh', '-c', 'date'], timeoutMs: 500, takesAction: true}]",
    ])
    .unwrap();
    let kinds: Vec<_> = loaded.core.agents.agents.iter().map(|agent| &agent.kind).collect();
    let [
        AgentKind::Provider { provider: None, .. },
        AgentKind::Provider {
            provider,
            model,
            system_prompt,
            ..
        },
    ] = kinds.as_slice()
    else {
        panic!("{kinds:?}")
    };
    assert_eq!(
        (*provider, model.as_deref(), system_prompt.as_deref()),
        (Some(ProviderKey::Kimi), Some("kimi-k2"), Some("Be brief."))
    );
    let [tool] = loaded.core.tools.commands.as_slice() else {
        panic!("one tool")
    };
    assert!(tool.program.ends_with("/sh") && tool.takes_action && tool.timeout == Duration::from_millis(500));

    let told = problems(load_set(&[
        "agents=[{id: 'a', provider: 'gpt'}, {id: 'b', provider: 'kimi', command: ['sh']}, {id: 'c', command: ['sh'], model: 'm'},
                 {id: 'd', provider: 'kimi', model: '../x'}, {id: 'two words', command: ['no-such-program']}]",
        "tools.commands=[{name: 'Date', command: ['sh']}, {name: 'x', command: ['sh'], timeoutMs: 1}, {name: 'x', command: ['no-such-program']}]",
        "security.audit.suppressions=[{checkid: 'x'}]",
    ]));
    for expected in [
        "--set agents.list[0].provider: must be \"active\", \"kimi\" or \"gemini\"",
        "--set agents.list[1].command: does not go with provider; keep one of them",
        "--set agents.list[2].model: goes with provider only",
        "--set agents.list[4].id: must begin with a letter or digit and have only letters, digits, '-', '_' and '.'",
        "agent \"two words\" command: no-such-program is not on PATH; write the whole path",
        "--set tools.commands[0].name: must have only lower-case letters, digits, '-', '_' and '.'",
        "--set tools.commands[1].timeoutMs: must be a whole number from 100 to 31536000000",
        "--set tools.commands[2].name: another tool has this name already",
        "tool \"x\" command: no-such-program is not on PATH; write the whole path",
        "--set security.audit.suppressions[0].checkid: unknown key (did you mean checkId?)",
        "--set security.audit.suppressions[0].checkId: is missing",
    ] {
        assert!(told.iter().any(|line| line == expected), "{expected}\nin {told:#?}");
    }
    assert!(
        told.iter()
            .any(|line| line.starts_with("--set agents.list[3].model: must be the name of a model"))
    );
}

#[test]
fn hardening_and_providers_from_file_and_environment() {
    let scratch = Scratch::new();
    let file = scratch.file(
        "{gateway: {bind: 'custom', customBindHost: '100.64.0.7', allowRemote: true, allowedNetworks: ['100.64.0.0/10'], trustedProxies: ['127.0.0.1'],
                    allowedHosts: ['Gate.example'], http: {endpoints: {responses: {maxUrlParts: 3, files: {urlAllowlist: []}}}},
                    images: {urlAllowlist: ['*.example.com'], maxBytes: 100}, tools: {deny: [' Exec ']}},
          providers: {kimi: {baseUrl: 'http://127.0.0.1:9/v1'}}, control: {enabled: true, paths: ['/control']}, audit: {path: 'journal.jsonl'}}",
    );
    let env = [
        ("KIMI_API_KEY", "kimi-key"),
        ("MOONSHOT_API_KEY", "moonshot-key"),
        ("GEMINI_MODEL", "gemini-x"),
        ("ACTIVE_AI_PROVIDER", "kimi"),
        ("SESSION_TTL_HOURS", "2"),
        ("TRUSTED_CLIENT_IPS", "127.0.0.1, 10.0.0.0/8,"),
        ("WS_CONTROL_PORT", "not looked at"),
    ];
    let loaded = load_with(Some(&file), &env, &[], &Flags::default()).unwrap();
    let core = &loaded.core;
    assert_eq!(loaded.bind, Bind::Host("100.64.0.7".into()));
    assert!(loaded.allow_remote && core.doors.allowed_networks.as_ref().unwrap().len() == 1);
    assert_eq!(core.doors.allowed_hosts, ["gate.example"]);
    assert_eq!(core.fetch.max_url_parts, 3);
    assert_eq!(core.fetch.files.url_allowlist, Some(vec![]));
    assert_eq!(core.fetch.web.url_allowlist, None);
    assert_eq!(
        (core.fetch.images.max_bytes, core.tools.deny.as_slice()),
        (100, ["exec".to_owned()].as_slice())
    );
    assert_eq!(core.providers.kimi.api_key.as_ref().unwrap().reveal(), "moonshot-key");
    assert_eq!(
        (core.providers.gemini.model.as_str(), core.providers.active.as_str()),
        ("gemini-x", "kimi")
    );
    let control = core.control.as_ref().unwrap();
    assert_eq!(
        (control.session_ttl, control.trusted_clients.len()),
        (Duration::from_secs(7_200), 2)
    );
    assert_eq!(
        core.audit.as_ref().unwrap().path,
        scratch.0.join("journal.jsonl").to_str().unwrap()
    );
}

#[test]
fn mistakes_in_the_environment_of_the_control_plane_count_where_it_is_on() {
    let env = [
        ("JWT_SECRET", "your-jwt-secret-key-here"),
        ("SESSION_TTL_HOURS", "0"),
        ("TRUSTED_CLIENT_IPS", " "),
    ];
    assert!(load_with(None, &env, &[], &Flags::default()).is_ok());
    let told = problems(load_with(None, &env, &["control.enabled=true"], &Flags::default()));
    assert_eq!(told.len(), 3, "{told:#?}");
    assert!(told[0].starts_with("JWT_SECRET: is the placeholder"));
    assert!(told[1].starts_with("SESSION_TTL_HOURS: must be a whole number of hours from 1 to 8760"));
    assert!(told[2].starts_with("TRUSTED_CLIENT_IPS: must not be empty"));
    let told = problems(load_with(
        None,
        &[("ACTIVE_AI_PROVIDER", "gpt")],
        &[],
        &Flags::default(),
    ));
    assert_eq!(told, ["ACTIVE_AI_PROVIDER: must be \"kimi\" or \"gemini\""]);
}

#[test]
fn the_control_plane_of_its_own_is_as_its_original_was() {
    let environment = environment(&[("WS_CONTROL_PORT", "19001"), ("OPENCLAW_GATEWAY_PORT", "5")]);
    let sources = Sources {
        file: None,
        environment: &environment,
        set: &[],
        flags: &Flags::default(),
        working_dir: Path::new("/"),
        purpose: Purpose::Control,
    };
    let loaded = load(&sources, fresh_token(Seed([5; 32]))).unwrap();
    let control = loaded.core.control.unwrap();
    assert_eq!(
        (loaded.port, control.standalone, control.paths.len()),
        (19_001, true, 0)
    );
}

#[test]
fn what_weakens_the_gateway_is_refused_with_a_reason() {
    for (set, told) in [
        (
            "gateway.security.dnsRebindingProtection=false",
            "cannot be switched off",
        ),
        ("gateway.security.resolveBeforeFetch=false", "cannot be switched off"),
        ("logging.redactSensitive=off", "secrets are masked"),
        ("gateway.auth.allowTailscale=true", "not supported"),
        (
            "gateway.remote={token: 'hunter22'}",
            "gateway.remote.token: unknown key: it is a client-side credential",
        ),
        ("gateway.tls.autoGenerate=true", "certificates are not made"),
        ("gateway.tls.enabled=true", "gateway.tls.certPath: is missing"),
        ("gateway.auth.mode=password", "gateway.auth.password: is missing"),
        ("gateway.auth.mode=trusted-proxy", "gateway.trustedProxies: is empty"),
        ("gateway={host: '::1', bind: 'lan'}", "say the same thing"),
        ("gateway.bind=custom", "gateway.customBindHost: is missing"),
        ("gateway.files.urlAllowlist=['*']", "item 1 is wrong"),
        ("gateway.trustedProxies=['localhost']", "item 1 is wrong"),
        (
            "providers.kimi.baseUrl=http://api.moonshot.ai/v1",
            "must begin with https://",
        ),
        (
            "control={enabled: true, paths: ['/gateway']}",
            "has the path of the gateway itself",
        ),
        ("gateway.mode=remote", "must be \"local\""),
    ] {
        let all = problems(load_set(&[set])).join("\n");
        assert!(all.contains(told) && !all.contains("hunter22"), "{set}: {all}");
    }
}

#[test]
fn of_two_tokens_the_stronger_source_wins_and_the_difference_is_told() {
    let scratch = Scratch::new();
    let file = scratch.file("{gateway: {auth: {token: '${OTHER_TOKEN}'}}}");
    let load = |env: &[(&str, &str)]| load_with(Some(&file), env, &[], &Flags::default()).unwrap();
    let loaded = load(&[
        ("OTHER_TOKEN", "from-the-file"),
        ("OPENCLAW_GATEWAY_TOKEN", "from-the-env"),
    ]);
    assert_eq!(loaded.token.as_ref().unwrap().reveal(), "from-the-env");
    assert_eq!(
        loaded.token_source,
        Some(TokenSource::Environment("OPENCLAW_GATEWAY_TOKEN"))
    );
    let [warning] = loaded.warnings.as_slice() else {
        panic!("{:?}", loaded.warnings)
    };
    assert!(warning.starts_with("gateway.env_token_overrides_config: OPENCLAW_GATEWAY_TOKEN and gateway.auth.token"));
    let same = load(&[
        ("OTHER_TOKEN", "the-same-one"),
        ("OPENCLAW_GATEWAY_TOKEN", "the-same-one"),
    ]);
    assert!(same.warnings.is_empty());
    assert_eq!(
        load(&[("OTHER_TOKEN", "from-the-file")]).token_source,
        Some(TokenSource::Config)
    );
}

#[test]
fn a_proxy_that_authenticates_needs_no_token() {
    let loaded = load_set(&[
        "gateway={auth: {mode: 'trusted-proxy', trustedProxy: {userHeader: 'X-User', allowUsers: ['ann']}}, trustedProxies: ['10.0.0.1']}",
    ])
    .unwrap();
    let identity = loaded.core.auth.proxy_identity.as_ref().unwrap();
    assert_eq!(
        (identity.user_header.as_str(), identity.allow_users.len()),
        ("x-user", 1)
    );
    assert_eq!(
        (loaded.token.as_ref(), loaded.core.auth.tokens.as_deref()),
        (None, Some([].as_slice()))
    );
    let loaded = load_with(
        None,
        &[("OPENCLAW_GATEWAY_PASSWORD", "eight-or-more")],
        &["gateway.auth.mode=password"],
        &Flags::default(),
    )
    .unwrap();
    assert_eq!(
        loaded.core.auth.credential,
        portcullis_core::settings::Credential::Password
    );
    assert_eq!(loaded.core.auth.tokens.unwrap()[0].reveal(), "eight-or-more");
}
