//! Segments read back as they were written, or are refused by name.

use bytes::Bytes;
use proptest::prelude::*;
use store::archive::{Objects, Row, Segment, write};

use super::{folder, row};

const NAME: &str = "executions/00/one.segment";

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(work)
}

/// Everything a segment gives back; an error once something of it cannot be read.
async fn read(objects: &dyn Objects) -> Result<Vec<(Row, Bytes)>, store::Error> {
    let segment = Segment::open(objects, NAME, None).await?;
    let mut all = Vec::new();
    for number in 0..segment.len() {
        let row = segment.row(number).unwrap().clone();
        all.push((row, segment.content(objects, number).await?));
    }
    Ok(all)
}

fn entries() -> impl Strategy<Value = Vec<(Row, Bytes)>> {
    let content = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        // Larger than a frame, and many that are alike.
        (any::<u8>(), 0usize..200_000).prop_map(|(byte, length)| vec![byte; length]),
    ];
    let entry =
        ("[A-Z0-9]{0,26}", any::<i64>(), ".{0,8}", content).prop_map(|(id, at, value, content)| {
            let row = Row {
                ended: at,
                ..row(&id, at, &[("field", value.as_str()), ("more", "x")])
            };
            (row, Bytes::from(content))
        });
    proptest::collection::vec(entry, 0..20)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_segment_gives_back_what_was_written(entries in entries()) {
        run(async {
            let (objects, _root) = folder();
            let (object, layout) = write(&entries).unwrap();
            assert_eq!(layout.size, object.len() as u64);
            objects.put(NAME, object).await.unwrap();
            assert_eq!(read(objects.as_ref()).await.unwrap(), entries);
            let known = Segment::open(objects.as_ref(), NAME, Some(layout)).await.unwrap();
            assert_eq!(known.len(), entries.len());
        });
    }

    #[test]
    fn a_segment_that_was_cut_or_changed_is_refused_by_name(
        entries in entries(),
        place in any::<prop::sample::Index>(),
        change in 1u8..,
        cut in any::<bool>(),
    ) {
        run(async {
            let (objects, _root) = folder();
            let (object, layout) = write(&entries).unwrap();
            let mut damaged = object.to_vec();
            let place = place.index(damaged.len());
            if cut {
                damaged.truncate(place);
            } else {
                damaged[place] ^= change;
            }
            objects.put(NAME, damaged.into()).await.unwrap();
            let known = Segment::open(objects.as_ref(), NAME, Some(layout)).await;
            assert!(!cut || known.is_err(), "a cut tail is seen at once");
            match read(objects.as_ref()).await {
                // The head is for people.
                Ok(found) => assert!(found == entries && place < 8, "byte {place} of {}", object.len()),
                Err(error) => assert!(error.to_string().contains(NAME), "{error}"),
            }
        });
    }
}

#[tokio::test]
async fn a_frame_is_read_once_for_its_entries() {
    let (objects, _root) = folder();
    let entries = ["x", "y"].map(|id| (row(id, 1, &[]), Bytes::from(id)));
    let (object, _) = write(&entries).unwrap();
    objects.put(NAME, object).await.unwrap();
    let open = async || Segment::open(objects.as_ref(), NAME, None).await.unwrap();
    let (read, unread) = (open().await, open().await);
    assert_eq!(read.content(objects.as_ref(), 0).await.unwrap(), "x");
    objects.delete(NAME).await.unwrap();
    assert_eq!(read.content(objects.as_ref(), 1).await.unwrap(), "y");
    assert!(unread.content(objects.as_ref(), 1).await.is_err());
}

/// Every byte of the smallest segments.
#[tokio::test]
async fn no_byte_changes_unseen() {
    let one = vec![(row("x", 1, &[]), Bytes::new())];
    for entries in [Vec::new(), one] {
        let (objects, _root) = folder();
        let (object, _) = write(&entries).unwrap();
        for place in 8..object.len() {
            let mut damaged = object.to_vec();
            damaged[place] ^= 1;
            objects.put(NAME, damaged.into()).await.unwrap();
            let error = read(objects.as_ref()).await;
            assert!(error.is_err(), "byte {place} of {}", object.len());
        }
    }
}

#[tokio::test]
async fn a_segment_that_is_gone_says_what_to_do() {
    let (objects, _root) = folder();
    let error = read(objects.as_ref()).await.unwrap_err().to_string();
    assert!(
        error.contains(NAME) && error.contains("put the object back from a backup"),
        "{error}"
    );
    let too_many = vec![(row("x", 1, &[]), Bytes::new()); 257];
    assert!(write(&too_many).is_err());
}
