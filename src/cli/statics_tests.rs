use super::*;
use ringway_config::Position;

/// Static values as of a file `c.yaml`, one a line.
pub(crate) fn statics(pairs: &[(&str, &str)]) -> Statics {
    let file: Arc<str> = "c.yaml".into();
    let values: Vec<_> = pairs
        .iter()
        .zip(1..)
        .map(|((path, value), line)| StaticValue {
            path: (*path).into(),
            value: (*value).into(),
            place: Place::new(&file, Position { line, column: 3 }),
        })
        .collect();
    Statics::new(&values)
}

#[test]
fn a_list_is_one_value() {
    let found = statics(&[("/a/0", "x"), ("/a/1", "y"), ("/b", "z"), ("/ab/0", "w")]);
    assert_eq!(found.get("/a").map(|found| (found.text, found.place.line)), Some(("x,y".into(), 1)));
    assert_eq!(found.get("/b").map(|found| (found.text, found.place.line)), Some(("z".into(), 3)));
    assert_eq!((found.get("/c"), found.get("/a/2")), (None, None));
}

#[test]
fn items_of_a_list_of_objects_are_counted() {
    let pairs: Vec<_> = (0..11).map(|at| (format!("/listeners/{at}/address"), ":1".to_owned())).collect();
    let pairs: Vec<_> = pairs.iter().map(|(path, value)| (&**path, &**value)).collect();
    let found = statics(&pairs);
    assert_eq!((found.count("/listeners"), found.count("/listener"), found.count("/x")), (11, 0, 0));
    assert_eq!(found.place_below("/listeners/10").map(|place| place.line), Some(11));
    assert_eq!(found.place_below("/listeners/1").map(|place| place.line), Some(2), "not that of 10");
}
