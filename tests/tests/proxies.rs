//! Clients that come through a proxy.

use wharf_tests::{Line, Wharf};

const FORWARDED: (&str, &str) = ("X-Forwarded-For", "6.6.6.6, 192.0.2.7");

#[tokio::test]
async fn the_address_of_a_client_behind_a_trusted_proxy_is_its_own() {
    let flags = ["--trusted-proxies 127.0.0.0/8,::1"];
    let wharf = Wharf::start(&["inspects"], &flags).await;
    let mut client = wharf.try_connect("/inspects", &[FORWARDED]).await.expect("it is let in");
    assert_eq!(client.ask_for_json("request").await["remote_address"], "192.0.2.7:0");
    // A client that is turned away is named as well.
    let _ = wharf.try_connect("/nowhere", &[FORWARDED]).await;
    let is_told = |line: &Line| line.says("client turned away");
    assert_eq!(wharf.log.wait_for("a line", is_told).await.str("remote"), "192.0.2.7:0");
    // A client that comes without a proxy is itself.
    let mut direct = wharf.connect("/inspects").await;
    let address = direct.ask_for_json("request").await["remote_address"].clone();
    assert!(address.as_str().is_some_and(|address| address.starts_with("127.0.0.1:")), "{address}");
}

#[tokio::test]
async fn nobody_is_believed_without_the_operators_word() {
    for flags in [&[][..], &["--trusted-proxies 10.0.0.0/8"]] {
        let wharf = Wharf::start(&["inspects"], flags).await;
        let mut client = wharf.try_connect("/inspects", &[FORWARDED]).await.expect("it is let in");
        let address = client.ask_for_json("request").await["remote_address"].clone();
        assert!(address.as_str().is_some_and(|it| it.starts_with("127.0.0.1:")), "{address}");
    }
}
