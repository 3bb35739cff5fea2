use super::*;

#[test]
fn patterns_are_parsed() {
    let pattern = Pattern::parse("/users/{id}/files/{*rest}").map(|pattern| pattern.segments().to_vec());
    let text = |text: &str| Segment::Text(text.into());
    assert_eq!(
        pattern,
        Ok(vec![text("users"), Segment::Parameter("id".into()), text("files"), Segment::Rest("rest".into())])
    );
    assert_eq!(Pattern::parse("/").map(|pattern| pattern.segments().to_vec()), Ok(vec![text("")]));
}

#[test]
fn other_texts_are_refused() {
    for (text, error) in [
        ("", PatternError::NoSlash),
        ("users", PatternError::NoSlash),
        ("/{id}.json", PatternError::PartOfSegment),
        ("/a{id}", PatternError::PartOfSegment),
        ("/{id", PatternError::PartOfSegment),
        ("/{}", PatternError::Name),
        ("/{*}", PatternError::Name),
        ("/{a-b}", PatternError::Name),
        ("/{a}/{a}", PatternError::Twice),
        ("/{*rest}/x", PatternError::NotLast),
        ("/a b", PatternError::Character),
        ("/a?b", PatternError::Character),
        ("/*", PatternError::Character),
        ("/\u{e4}", PatternError::Character),
        ("/{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}/{i}", PatternError::TooLong),
    ] {
        assert_eq!(Pattern::parse(text), Err(error), "{text}");
    }
    assert_eq!(Pattern::parse(&"/a".repeat(40)), Err(PatternError::TooLong));
    assert_eq!(Pattern::parse(&format!("/{}", "a".repeat(2_000))), Err(PatternError::TooLong));
}
