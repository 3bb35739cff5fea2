//! Reads configuration files and prints their findings: `cargo run -p ringway-config --example read -- FILE…`.
#![forbid(unsafe_code)]

use ringway_config::{Source, read, schema};

fn main() {
    let files: Vec<String> = std::env::args().skip(1).collect();
    if files.is_empty() {
        println!("{:#}", schema());
        return;
    }
    let source = |file: &String| Source {
        name: file.as_str().into(),
        text: std::fs::read_to_string(file).unwrap_or_default(),
    };
    let sources: Vec<Source> = files.iter().map(source).collect();
    let begin = std::time::Instant::now();
    let reading = read(&sources);
    let took = begin.elapsed();
    for finding in &reading.findings {
        println!("{finding} [{}]", finding.code);
    }
    if let Some(document) = &reading.document {
        println!("{} {}", document.version, document.canonical);
        for value in &document.statics {
            println!("{}: {}", value.path, value.value);
        }
    }
    println!("{took:?}");
}
