//! Any texts as messages of one control client, some of them with the good token in place of `TOKEN`: no panic, exactly one
//! answer to each until the connection is closed, and no answer is the token's unless it was asked for.
#![no_main]

use std::sync::Arc;

use portcullis_core::auth::Authenticator;
use portcullis_core::calls::Calls;
use portcullis_core::id::ConnId;
use portcullis_core::policy::forwarded::Client;
use portcullis_core::outbox::Outbox;
use portcullis_core::random::{Random, Seed};
use portcullis_core::report::{ControlFact, Report};
use portcullis_core::settings::{ControlSettings, ProviderKey, Settings};
use portcullis_core::providers::{NotConfigured, Switched};
use portcullis_core::surfaces::control::{ActiveProvider, Context, Control, Steering};
use portcullis_core::time::{Instant, Now, UnixMillis};

struct Nobody;

impl Steering for Nobody {
    fn active(&self) -> ActiveProvider {
        ActiveProvider { key: ProviderKey::Kimi, model: "m".into(), configured: true }
    }

    fn switch(&mut self, to: ProviderKey, model: Option<&str>) -> Result<Switched, NotConfigured> {
        let model = model.unwrap_or("m").to_owned();
        Ok(Switched { previous: ProviderKey::Kimi, active: to, model })
    }

    fn check_health(&mut self, _: Now, _: &mut Calls, _: &mut Random, _: u64) {}
}

fn token(reports: &mut Vec<Report>) -> Option<String> {
    reports.drain(..).rev().find_map(|report| match report {
        Report::Control(ControlFact::TokenIssued { token, .. }) => token.map(|token| token.reveal().to_owned()),
        _ => None,
    })
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let control = ControlSettings { hand_out_token: true, ..ControlSettings::default() };
    let settings = Arc::new(Settings { control: Some(control), ..Settings::default() });
    let now = Now { monotonic: Instant::from_millis(1), wall: UnixMillis(1_795_187_180_000) };
    let (mut random, mut calls, mut outbox) = (Random::new(Seed([1; 32])), Calls::default(), Outbox::new(1 << 20));
    let mut auth = Authenticator::new(&settings.auth, &mut random);
    let (mut reports, mut audit) = (Vec::new(), Vec::new());
    let mut control = Control::new(&settings, now, &mut random, &mut calls, &mut reports, &mut audit).expect("it is on");
    let mut good = token(&mut reports).expect("a token");
    let conn = ConnId::FIRST;
    let mut session = None;
    for message in text.split('\u{1}') {
        let mut cx = Context {
            now,
            settings: &settings,
            random: &mut random,
            auth: &mut auth,
            outbox: &mut outbox,
            calls: &mut calls,
            reports: &mut reports,
            audit: &mut audit,
            providers: &mut Nobody,
        };
        let session = session.get_or_insert_with(|| control.opened(&mut cx, conn, Client::Local(None), None));
        let message = message.replace("TOKEN", &good);
        control.message(&mut cx, conn, session, Some(&message));
        if session.not_before() == Instant::END {
            break;
        }
        let parcel = outbox.take_for(conn).expect("an answer");
        assert_ne!(parcel.close.is_some(), parcel.bytes.starts_with(&[0x81]), "an answer or a close");
        if parcel.close.is_some() {
            break;
        }
        if let Some(fresh) = token(&mut reports) {
            good = fresh;
        }
        assert!(!format!("{reports:?} {audit:?}").contains(&good));
    }
});
