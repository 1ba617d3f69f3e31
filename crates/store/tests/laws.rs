//! The laws, over every backend of this crate.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::sync::Arc;

use store::laws::Place;
use store::{Embedded, Memory, Store};

/// A store in a file, in a folder that lives as long as its place.
fn in_a_file() -> Place {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    Box::new(move || {
        let folder = folder.clone();
        Box::pin(async move { Arc::new(Embedded::open(&folder.path().join("store")).unwrap()) as Arc<dyn Store> })
    })
}

/// A store on a disk in memory, which is lost with its place only.
fn in_memory() -> Place {
    let disk = Arc::new(Memory::default());
    Box::new(move || {
        let disk = disk.clone();
        Box::pin(async move { Arc::new(Embedded::on(disk).unwrap()) as Arc<dyn Store> })
    })
}

mod file {
    store::laws!(super::in_a_file);
}

mod memory {
    store::laws!(super::in_memory);
}

#[tokio::test]
async fn a_store_in_memory_is_new_each_time() {
    use store::{Commit, Path, Write};
    let path = Path::parse("a").unwrap();
    let store = Embedded::in_memory().unwrap();
    store.commit(Commit::new([], [Write::Put(path.clone(), "1".into())]).unwrap()).await.unwrap();
    assert!(store.get(&path).await.unwrap().is_some());
    assert!(Embedded::in_memory().unwrap().get(&path).await.unwrap().is_none());
}
