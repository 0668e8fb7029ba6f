//! Sessions that come from another store.

use tower_cluster_sessions::test_util::TestCluster;

use crate::{
    doors::ClusterStore,
    tower_sessions::{
        MemoryStore, SessionStore,
        session::{Id, Record},
    },
};

/// A record in the other store, with an entry.
async fn record_elsewhere(elsewhere: &MemoryStore) -> Record {
    let mut record = Record {
        id: Id::default(),
        data: [("user".to_owned(), "alice".into())].into(),
        expiry_date: time::OffsetDateTime::now_utc() + time::Duration::hours(1),
    };
    elsewhere.create(&mut record).await.expect("it takes all");
    record
}

#[tokio::test(start_paused = true)]
async fn record_of_another_store_is_adopted_once_by_all_who_present_it() {
    let cluster = TestCluster::start(2).await;
    let stores = [0, 1].map(|node| ClusterStore::new(cluster.cluster(node)));
    let record = record_elsewhere(&MemoryStore::default()).await;
    let both = tokio::join!(stores[0].adopt(&record), stores[1].adopt(&record));
    assert!(both.0.expect("it can be written"));
    assert!(both.1.expect("it can be written"));
    cluster.converged().await;
    // Longer than sessions are kept whose client does not come back.
    tokio::time::sleep(std::time::Duration::from_secs(600)).await;
    for (node, store) in stores.iter().enumerate() {
        assert_eq!(cluster.cluster(node).session_count(), 1);
        let again = store.adopt(&record).await.expect("it can be read");
        assert!(!again);
        let loaded = store.load(&record.id).await.expect("it can be read");
        let loaded = loaded.expect("it lives");
        assert_eq!(
            (loaded.id, loaded.data["user"].as_str()),
            (record.id, Some("alice"))
        );
        assert_eq!(loaded.expiry_date, record.expiry_date);
    }
}

#[tokio::test(start_paused = true)]
async fn record_of_a_session_that_has_ended_here_is_not_adopted() {
    let cluster = TestCluster::start(2).await;
    let stores = [0, 1].map(|node| ClusterStore::new(cluster.cluster(node)));
    let record = record_elsewhere(&MemoryStore::default()).await;
    stores[0].adopt(&record).await.expect("it can be written");
    stores[1]
        .delete(&record.id)
        .await
        .expect("it can be written");
    for store in &stores {
        assert!(!store.adopt(&record).await.expect("it can be read"));
        let loaded = store.load(&record.id).await.expect("it can be read");
        assert!(loaded.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn session_behind_a_record_is_found_and_ends_with_it() {
    let cluster = TestCluster::start(2).await;
    let stores = [0, 1].map(|node| ClusterStore::new(cluster.cluster(node)));
    let mut record = record_elsewhere(&MemoryStore::default()).await;
    assert!(stores[0].open(&record.id).await.is_none());
    stores[0]
        .create(&mut record)
        .await
        .expect("it can be written");
    let session = stores[1].open(&record.id).await.expect("it lives");
    assert_eq!(
        session.get("user").expect("it lives"),
        Some("alice".to_owned())
    );
    let ended = session.ended();
    stores[0]
        .delete(&record.id)
        .await
        .expect("it can be written");
    ended.await;
}
