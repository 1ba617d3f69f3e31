//! A store or a log that stays away for a while: nobody waits for long, and what was refused did not happen.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::time::{Duration, Instant};

use model::{KeyKind, OctSize};
use pool::{Error, Outcome};
use testkit::{Fault, OWNER, Setup, TestPool, call, key_name, key_ref, new_oct, sign_request};

async fn create(pool: &TestPool, name: &str) -> Result<(), Error> {
    let kind = KeyKind::Oct(OctSize::AES_256);
    pool.pool().create_key(&call(OWNER), &key_name(name), kind, None, new_oct()).await.map(drop)
}

async fn names(pool: &TestPool) -> Vec<String> {
    let (keys, _) = pool.pool().keys(&call(OWNER), None, 1000).await.unwrap();
    keys.into_iter().map(|key| key.name.as_str().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_do_not_queue_up_behind_one_whose_outcome_cannot_be_read() {
    let pool = Setup::default().start().await;
    pool.faults().fail_commit(0, Fault::UnknownLost);
    pool.faults().fail_reads(true);
    let begun = Instant::now();
    let (a, b, c, d) = tokio::join!(create(&pool, "a"), create(&pool, "b"), create(&pool, "c"), create(&pool, "d"));
    for answer in [a, b, c, d] {
        assert!(matches!(answer, Err(Error::Unavailable { .. })), "{answer:?}");
    }
    assert!(begun.elapsed() < Duration::from_secs(8), "the four waited {:?}", begun.elapsed());
    pool.faults().fail_reads(false);
    create(&pool, "e").await.unwrap();
    assert_eq!(names(&pool).await, ["e"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_log_is_away_no_change_happens_but_the_one_that_met_it_first() {
    let pool = Setup::default().start().await;
    pool.break_log().await;
    for name in ["a", "b", "c", "d"] {
        let answer = create(&pool, name).await;
        assert!(matches!(answer, Err(Error::Unavailable { .. })), "{name}: {answer:?}");
    }
    pool.mend_log();
    create(&pool, "e").await.unwrap();
    assert_eq!(names(&pool).await, ["a", "e"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_denied_leave_the_reserve_to_those_that_are_not() {
    let reserve = 256 << 10;
    let audit = audit::Options {
        segment_bytes: 256 << 10,
        max_bytes: Some((4 << 20) + reserve),
        reserve_bytes: reserve,
        ..audit::Options::default()
    };
    let pool = Setup { audit, ..Setup::default() }.start().await;
    create(&pool, "a").await.unwrap();
    let sign = async |by: &str| pool.pool().sign(&call(by), &key_ref("a", None), sign_request()).await.map(drop);
    pool.fill_log_up_to_the_reserve().await;

    let records = pool.records().await.len();
    for _ in 0..3 {
        let denied = sign("stranger").await;
        assert!(matches!(denied, Err(Error::Unavailable { .. })), "no answer without a record: {denied:?}");
        let unknown = pool.pool().record_refusal(&call("stranger"), Outcome { status: 404, code: None }, "?").await;
        assert!(matches!(unknown, Err(Error::Unavailable { .. })), "{unknown:?}");
    }
    assert_eq!(pool.records().await.len(), records);
    sign(OWNER).await.unwrap();
    create(&pool, "b").await.unwrap();
}
