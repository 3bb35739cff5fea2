use super::*;

fn certificate(subject: &str) -> ClientCertificate {
    ClientCertificate { subject: subject.to_owned(), fingerprint: "00ff".to_owned() }
}

#[test]
fn an_app_is_told_whose_certificate_it_was_or_that_there_was_none() {
    assert_eq!(&*client_lines(None), b"X-Client-Cert-Verified: NONE\r\n");
    assert_eq!(
        String::from_utf8_lossy(&client_lines(Some(&certificate("CN=alice")))),
        "X-Client-Cert-Verified: SUCCESS\r\nX-Client-Cert-Subject: CN=alice\r\nX-Client-Cert-Fingerprint: 00ff\r\n"
    );
    let longest = "a".repeat(crate::limits::CLIENT_SUBJECT_BYTES_MAX);
    let lines =
        |subject: &str| String::from_utf8_lossy(&client_lines(Some(&certificate(subject)))).into_owned();
    assert!(lines(&longest).contains("Subject"));
    assert!(!lines(&format!("{longest}a")).contains("Subject"));
}
