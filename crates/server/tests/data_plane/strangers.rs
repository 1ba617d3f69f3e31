//! Requests that come to nothing before an operation is known: what is recorded of them, and what is counted.

use audit::Record;
use serde_json::Value;
use server::edge::Refusal;
use testkit::{OWNER, Setup};

use crate::plane::{Plane, SOURCE};

const REFUSALS: [Refusal; 4] = [Refusal::TooLarge { limit: 1 << 20 }, Refusal::Slow, Refusal::Broken, Refusal::NoRoom];

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_body_is_recorded_for_whoever_sent_it() {
    let plane = Plane::start(Setup::default()).await;
    for principal in [OWNER, "nobody"] {
        for refusal in REFUSALS {
            let token = plane.token(principal);
            let answer = plane.refuse(Plane::request(Some(&token), "POST", "/keys/a/create", ""), refusal).await;
            assert_eq!(answer.status, refusal.status().as_u16());
            let (code, message) = answer.error();
            assert_eq!(code, refusal.code());
            assert!(message.starts_with(&*refusal.message()) && message.contains("(Activity ID: "), "{message}");

            let records = plane.records_of(&answer).await;
            assert_eq!(records.len(), 1, "{refusal:?}");
            assert_eq!(records[0].status, answer.status);
            assert_eq!(records[0].caller.as_ref().map(|caller| &*caller.principal), Some(principal));
            assert_eq!(records[0].request.as_deref(), Some("POST /keys/a/create"));
            assert_eq!(records[0].reason.as_deref(), Some(&*refusal.message()));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_body_tells_a_stranger_no_more_than_where_to_get_a_token() {
    let plane = Plane::start(Setup::default()).await;
    for refusal in REFUSALS {
        for token in [None, Some("of nobody")] {
            let answer = plane.refuse(Plane::request(token, "POST", "/keys/a/create", ""), refusal).await;
            assert_eq!((answer.status, &answer.body), (401, &Value::Null));
            assert!(answer.headers.contains_key("www-authenticate"));
        }
    }
    assert_eq!((plane.strangers.without_token(), plane.strangers.with_failed_token()), (4, 4));
    assert_eq!(plane.failed_tokens().await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_body_is_not_answered_while_the_log_cannot_be_written() {
    let plane = Plane::start(Setup::default()).await;
    plane.pool.break_log().await;
    let token = plane.token(OWNER);
    let answer = plane.refuse(Plane::request(Some(&token), "POST", "/keys", ""), Refusal::Slow).await;
    assert_eq!((answer.status, answer.error().0), (503, "ServiceUnavailable"));
    assert_eq!(answer.headers["retry-after"], "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_without_a_token_are_counted_and_nothing_else() {
    let plane = Plane::start(Setup::default()).await;
    let before = plane.pool.records().await.len();
    for _ in 0..100 {
        assert_eq!(plane.answer(Plane::request(None, "GET", "/keys", "")).await.status, 401);
    }
    assert_eq!((plane.strangers.without_token(), plane.strangers.with_failed_token()), (100, 0));
    assert_eq!(plane.pool.records().await.len(), before);
}

/// How many failures these records tell of.
fn told(records: &[Record]) -> u64 {
    records.iter().map(|record| record.count.unwrap_or(1)).sum()
}

async fn fail(plane: &Plane, times: usize) {
    for _ in 0..times {
        assert_eq!(plane.answer(Plane::request(Some("of nobody"), "GET", "/keys", "")).await.status, 401);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_of_failed_tokens_are_recorded_at_the_end() {
    let plane = Plane::start(Setup::default()).await;
    fail(&plane, 25).await;
    plane.plane().count_failed_tokens().await;
    assert_eq!(told(&plane.failed_tokens().await), 10, "the rest is not due");
    plane.plane().count_the_last_failed_tokens().await;
    let records = plane.failed_tokens().await;
    assert_eq!((records.len(), told(&records)), (11, 25));
    assert_eq!(records[10].source, Some(SOURCE));
    plane.plane().count_the_last_failed_tokens().await;
    assert_eq!(told(&plane.failed_tokens().await), 25);
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_tokens_that_cannot_be_recorded_stay_counted() {
    let plane = Plane::start(Setup::default()).await;
    plane.pool.break_log().await;
    fail(&plane, 25).await;
    plane.pool.clock().advance(61);
    plane.plane().count_failed_tokens().await;
    plane.pool.mend_log();
    assert_eq!(told(&plane.failed_tokens().await), 0);
    plane.plane().count_failed_tokens().await;
    let records = plane.failed_tokens().await;
    assert_eq!((records.len(), told(&records)), (1, 25));
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_tokens_leave_the_reserve_to_others() {
    let reserve = 256 << 10;
    let audit = audit::Options {
        segment_bytes: 256 << 10,
        max_bytes: Some((4 << 20) + reserve),
        reserve_bytes: reserve,
        ..audit::Options::default()
    };
    let plane = Plane::start(Setup { audit, ..Setup::default() }).await;
    plane.pool.fill_log_up_to_the_reserve().await;

    fail(&plane, 5).await;
    assert_eq!(told(&plane.failed_tokens().await), 0);
    assert_eq!(plane.ask(OWNER, "GET", "/keys", &Value::Null).await.status, 200);
}
