//! Searching the catalogue: what a look at every row finds, in its order, without it.

use std::cmp::Reverse;
use std::time::Instant;

use bytes::Bytes;
use proptest::prelude::*;
use store::archive::{
    Catalog, Filter, Position, Row, SegmentDocument, Summary, segment_name, write,
};
use store::{Batch, Shard};

use super::{folder, memory, row};

/// Puts entries into a segment of which all rows count but those that `gone` names.
async fn keep(
    store: &store::Shared,
    catalog: &Catalog,
    shard: Shard,
    rows: &[Row],
    gone: &[usize],
) {
    let entries: Vec<(Row, Bytes)> = rows
        .iter()
        .map(|row| (row.clone(), Bytes::from(format!("content of {}", row.id))))
        .collect();
    let (object, layout) = write(&entries).unwrap();
    let summary = Summary::of(rows.iter());
    let name = segment_name(shard, summary.newest, &rows[0].id);
    let mut document = SegmentDocument::new(layout, summary);
    assert!(document.is_over());
    for number in 0..rows.len() {
        document.set(number, !gone.contains(&number));
    }
    catalog.objects().put(&name, object).await.unwrap();
    let batch = document.write(Batch::new(shard, name.clone()), &name, 0);
    store.commit(batch).await.unwrap().unwrap();
}

async fn walk(catalog: &Catalog, shards: &[Shard], filter: &Filter, size: usize) -> Vec<String> {
    let (mut found, mut after): (Vec<String>, Option<Position>) = (Vec::new(), None);
    loop {
        let mut walk = catalog.walk(shards.iter().copied(), filter.clone(), after.clone());
        let before = found.len();
        while found.len() < before + size
            && let Some(next) = walk.next().await.unwrap()
        {
            after = Some(next.position());
            found.push(next.row.id);
        }
        if found.len() < before + size {
            return found;
        }
    }
}

fn text(values: &[&str]) -> Vec<String> {
    values.iter().map(|v| (*v).to_owned()).collect()
}

/// (time, application, whether it is gone) of each row, by segment.
type Made = Vec<Vec<(i64, u8, bool)>>;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_walk_finds_what_looking_at_every_row_finds(
        made in proptest::collection::vec(
            proptest::collection::vec((0i64..40, 0u8..40, any::<bool>()), 1..40), 0..8),
        application in 0u8..40,
        from in proptest::option::of(0i64..40),
        to in proptest::option::of(0i64..40),
        size in 1usize..30,
    ) {
        let run = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        run.block_on(found_as_by_looking(made, application, from, to, size));
    }
}

async fn found_as_by_looking(
    made: Made,
    application: u8,
    from: Option<i64>,
    to: Option<i64>,
    size: usize,
) {
    let (store, (objects, _root)) = (memory(), folder());
    let catalog = Catalog::new(store.clone(), objects);
    let shards: Vec<Shard> = store.shards().all().take(2).collect();
    let mut all: Vec<Row> = Vec::new();
    for (number, rows) in made.iter().enumerate() {
        let (mut kept, mut gone) = (Vec::new(), Vec::new());
        for (place, (at, application, is_gone)) in rows.iter().enumerate() {
            let id = format!("{number:02}-{place:02}");
            let value = format!("a{application}");
            kept.push(row(&id, *at, &[("application", &value), ("all", "yes")]));
            if *is_gone {
                gone.push(place);
            } else {
                all.push(kept[place].clone());
            }
        }
        keep(&store, &catalog, shards[number % 2], &kept, &gone).await;
    }
    all.sort_by_key(|row| Reverse((row.at, row.id.clone())));
    let ids = |filter: &Filter| -> Vec<String> {
        let taken = all.iter().filter(|row| filter.takes(row));
        taken.map(|row| row.id.clone()).collect()
    };
    for filter in [
        Filter::default(),
        Filter {
            from,
            to,
            ..Filter::default()
        }
        .any("application", &text(&[&format!("a{application}")])),
        Filter {
            from,
            to,
            ..Filter::default()
        }
        .any("all", &text(&["no", "yes"])),
        Filter::default().any("nothing", &text(&["has", "it"])),
    ] {
        assert_eq!(
            walk(&catalog, &shards, &filter, size).await,
            ids(&filter),
            "{filter:?}"
        );
    }
    for row in &all {
        let number: usize = row.id[..2].parse().unwrap();
        let found = catalog
            .find(shards[number % 2], &row.id)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(found.row, *row);
        let content = catalog.content(&found).await.unwrap();
        assert_eq!(content, format!("content of {}", row.id).as_bytes());
    }
    for (number, rows) in made.iter().enumerate() {
        for place in rows
            .iter()
            .enumerate()
            .filter(|(_, row)| row.2)
            .map(|(place, _)| place)
        {
            let id = format!("{number:02}-{place:02}");
            assert!(
                catalog
                    .find(shards[number % 2], &id)
                    .await
                    .unwrap()
                    .is_none(),
                "{id} is gone"
            );
        }
    }
}

/// A hundred thousand rows in 400 segments: a search reads the few that can have it.
#[tokio::test]
async fn a_search_over_a_hundred_thousand_rows_is_quick() {
    const SEGMENTS: i64 = 400;
    let (store, (objects, _root)) = (memory(), folder());
    let catalog = Catalog::new(store.clone(), objects);
    let shards: Vec<Shard> = store.shards().all().collect();
    for segment in 0..SEGMENTS {
        let rows: Vec<Row> = (0..250)
            .map(|place| {
                let number = segment * 250 + place;
                let application = format!("app{}", segment % 16);
                let event = format!("event-{number}");
                let image = format!("shop/web:{}", number / 7);
                let fields = [
                    ("application", application.as_str()),
                    (
                        "pipeline",
                        ["a", "b", "c"][usize::try_from(number % 3).unwrap()],
                    ),
                    (
                        "status",
                        if number % 50 == 0 {
                            "TERMINAL"
                        } else {
                            "SUCCEEDED"
                        },
                    ),
                    ("event", &event),
                    ("image", &image),
                ];
                row(&format!("01{number:024}"), number, &fields)
            })
            .collect();
        let shard = shards[usize::try_from(segment % 16).unwrap()];
        keep(&store, &catalog, shard, &rows, &[]).await;
    }
    let application = Filter::default().any("application", &text(&["app3"]));
    let searches = [
        ("the last 50 of an application", application.clone(), 50, 50),
        (
            "failed ones of it",
            application.any("status", &text(&["TERMINAL"])),
            50,
            50,
        ),
        (
            "an event",
            Filter::default().any("event", &text(&["event-1234"])),
            50,
            1,
        ),
        (
            "an image",
            Filter::default().any("image", &text(&["shop/web:9000"])),
            50,
            7,
        ),
        (
            "a time",
            Filter {
                from: Some(60_000),
                to: Some(60_009),
                ..Filter::default()
            },
            50,
            10,
        ),
        (
            "nothing",
            Filter::default().any("event", &text(&["event-none"])),
            50,
            0,
        ),
    ];
    for (what, filter, size, expected) in searches {
        let begun = Instant::now();
        let mut walk = catalog.walk(shards.iter().copied(), filter.clone(), None);
        let mut found = Vec::new();
        while found.len() < size
            && let Some(next) = walk.next().await.unwrap()
        {
            catalog.content(&next).await.unwrap();
            assert!(filter.takes(&next.row));
            found.push(next.row.at);
        }
        println!(
            "{what}: {} found in {} ms",
            found.len(),
            begun.elapsed().as_millis()
        );
        assert_eq!(found.len(), expected, "{what}");
        assert!(found.is_sorted_by(|a, b| a > b), "{what}: newest first");
    }
}

#[tokio::test]
async fn what_is_not_asked_for_any_more_is_passed_over_unread() {
    let (store, (objects, _root)) = (memory(), folder());
    let catalog = Catalog::new(store.clone(), objects.clone());
    let shard = store.shards().of_application("a");
    let pipelines = |number: i64| if number == 0 { "rare" } else { "often" };
    for segment in 0..4 {
        let rows: Vec<Row> = (0..10)
            .map(|place| {
                let number = segment * 10 + place;
                let fields = [("pipeline", pipelines(number))];
                row(&format!("{number:02}"), number, &fields)
            })
            .collect();
        keep(&store, &catalog, shard, &rows, &[]).await;
    }
    let names = objects.list("executions").await.unwrap();
    let mut walk = catalog.walk([shard], Filter::default(), None);
    assert_eq!(walk.next().await.unwrap().unwrap().row.id, "39");
    // Those between hold nothing else, so that they are gone is not noticed.
    for name in &names[1..3] {
        objects.delete(name).await.unwrap();
    }
    walk.except("pipeline", "often");
    assert_eq!(walk.next().await.unwrap().unwrap().row.id, "00");
    assert!(walk.next().await.unwrap().is_none());
}
