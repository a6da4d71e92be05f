use super::*;

#[test]
fn servers_are_named_as_people_name_them() {
    for (text, shown) in [
        ("1.1.1.1", "1.1.1.1"),
        ("10.0.0.2:5353", "10.0.0.2:5353"),
        ("10.0.0.2:53", "10.0.0.2"),
        ("2606:4700::1111", "2606:4700::1111"),
        ("[2606:4700::1111]:5353", "[2606:4700::1111]:5353"),
        ("NS-1.awsdns-01.org.", "ns-1.awsdns-01.org"),
        ("localhost:5353", "localhost:5353"),
    ] {
        assert_eq!(text.parse::<Server>().unwrap().to_string(), shown, "{text}");
    }
    for bad in ["", "10.0.0.2:0", "10.0.0.2:65536", "a b", "ns..org", "https://1.1.1.1", ":53", "-:x"] {
        assert!(bad.parse::<Server>().is_err(), "{bad}");
    }
}

#[test]
fn names_are_compared_without_case_and_last_dot() {
    assert_eq!(normal("API.theboss.io."), "api.theboss.io");
    assert_eq!(normal("api.theboss.io"), "api.theboss.io");
}

#[tokio::test]
async fn a_server_that_is_not_there_gives_no_answer_in_time() {
    // Bound and never read: UDP questions vanish, and no TCP listener is there.
    let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let limit = Duration::from_millis(400);
    let started = std::time::Instant::now();
    let error = ask(address, Role::Authority, "api.test", Kind::A, limit).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(5), "{error} after {:?}", started.elapsed());
}
