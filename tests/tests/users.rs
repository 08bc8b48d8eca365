//! Users: online users, their connections, and disconnecting them.

use wharf_tests::{Client, Ended, Hosts, Setup, Wharf, eventually, json, on_one_host_and_on_two};

on_one_host_and_on_two! {
    a_message_to_a_user_reaches_every_connection_of_the_user_and_nobody_else
    a_message_to_several_users_comes_once_to_each_connection
    a_user_is_online_for_as_long_as_there_is_a_connection
    an_identity_is_an_effect_that_the_event_itself_sees
    a_disconnected_user_gets_what_was_sent_the_code_and_an_on_close
    a_connection_can_disconnect_its_own_user_and_a_new_one_can_replace_the_old
    one_connection_can_be_disconnected_by_its_id
    users_stay_identified_across_a_reload
    notifications_reach_all_devices_of_a_user_and_signing_out_closes_the_others
}

async fn id(client: &mut Client) -> String {
    client.ask("id").await
}

/// Asserts that all hosts know that a user is online, or is not, by a client of each.
async fn is_known(hosts: &Hosts, user: &str, is_online: bool) {
    for host in 0..hosts.all().len() {
        let mut asker = hosts.connect(host, "/users").await;
        let ask = async || asker.ask(&format!("online {user}")).await;
        hosts.come_to(is_online.to_string(), ask).await;
    }
}

/// Asserts that nothing comes before the answer to this question.
async fn has_nothing_more(hosts: &Hosts, client: &mut Client) {
    hosts.settle().await;
    let answer = client.ask("online nobody-at-all").await;
    assert_eq!(answer, "false", "something else has come");
}

async fn a_message_to_a_user_reaches_every_connection_of_the_user_and_nobody_else(setup: Setup) {
    let hosts = setup.start(&["users"], &[]).await;
    let mut phone = hosts.connect(0, "/users?user=ann").await;
    let mut laptop = hosts.connect(1, "/users?user=ann").await;
    let mut bob = hosts.connect(0, "/users?user=bob").await;
    let mut nobody = hosts.connect(1, "/users").await;
    assert_eq!(nobody.ask("to ann hello").await, "ok");
    assert_eq!((phone.text().await, laptop.text().await), ("hello".into(), "hello".into()));
    assert_eq!(phone.ask("to-others ann read").await, "ok");
    assert_eq!(laptop.text().await, "read");
    // Ids are compared bytewise.
    assert_eq!(bob.ask("to Ann hello").await, "user-offline Gone");
    for client in [&mut phone, &mut laptop, &mut bob, &mut nobody] {
        has_nothing_more(&hosts, client).await;
    }
}

async fn a_message_to_several_users_comes_once_to_each_connection(setup: Setup) {
    let hosts = setup.start(&["users"], &[]).await;
    let mut phone = hosts.connect(0, "/users?user=ann").await;
    let mut laptop = hosts.connect(1, "/users?user=ann").await;
    let mut bob = hosts.connect(0, "/users?user=bob").await;
    assert_eq!(bob.ask("to-many ann,offline,ann both").await, "ok", "who is offline is no error");
    for client in [&mut phone, &mut laptop] {
        assert_eq!(client.text().await, "both");
        has_nothing_more(&hosts, client).await;
    }
    assert_eq!(bob.ask("to-crowd ann 256 crowd").await, "ok");
    assert_eq!(phone.text().await, "crowd");
    assert_eq!(bob.ask("to-crowd ann 257 crowd").await, "too-many-users ShedLoad");
    has_nothing_more(&hosts, &mut phone).await;
}

async fn a_user_is_online_for_as_long_as_there_is_a_connection(setup: Setup) {
    let hosts = setup.start(&["users"], &[]).await;
    let mut phone = hosts.connect(0, "/users?user=ann").await;
    let mut laptop = hosts.connect(1, "/users?user=ann").await;
    let mut bob = hosts.connect(0, "/users").await;
    let ids = [id(&mut phone).await, id(&mut laptop).await];
    let listed = hosts.listed(ids.to_vec()).join(" ");
    hosts.come_to(listed, async || bob.ask("connections ann").await).await;
    phone.close(1000, "").await;
    eventually("one connection to be left", async || {
        (bob.ask("connections ann").await == ids[1]).then_some(())
    })
    .await;
    assert_eq!(bob.ask("online ann").await, "true");
    laptop.reset();
    eventually("Ann to be offline", async || {
        (bob.ask("online ann").await == "false").then_some(())
    })
    .await;
    assert_eq!(bob.ask("to ann hello").await, "user-offline Gone");
    assert_eq!(bob.ask("connections ann").await, "");
}

async fn an_identity_is_an_effect_that_the_event_itself_sees(setup: Setup) {
    let hosts = setup.start(&["users"], &[]).await;
    let mut client = hosts.connect(0, "/users").await;
    let mut other = hosts.connect(1, "/users").await;
    assert_eq!(client.ask("user").await, "nobody");
    assert_eq!(
        client.ask("identify-and-look ann bob").await,
        "Some(\"ann\") true 1 false 0",
        "before the commit"
    );
    // After it.
    is_known(&hosts, "ann", true).await;
    // The connection moves from one user to another.
    assert_eq!(client.ask("identify-and-look bob ann").await, "Some(\"bob\") true 1 false 0");
    is_known(&hosts, "ann", false).await;
    is_known(&hosts, "bob", true).await;
    assert_eq!(other.ask("to bob moved").await, "ok");
    assert_eq!(client.text().await, "moved");
    // An event that fails identifies no user.
    client.send("identify-and-fail ann").await;
    assert_eq!(client.json().await["code"], "INTERNAL_ERROR");
    assert_eq!(client.ask("user").await, "bob");
    hosts.settle().await;
    assert_eq!(other.ask("online ann").await, "false");
}

async fn a_disconnected_user_gets_what_was_sent_the_code_and_an_on_close(setup: Setup) {
    let hosts = setup.start(&["users"], &[]).await;
    let mut watcher = hosts.connect(0, "/users?watch=1").await;
    let mut phone = hosts.connect(1, "/users?user=ann").await;
    let mut laptop = hosts.connect(0, "/users?user=ann").await;
    let mut bob = hosts.connect(1, "/users?user=bob").await;
    assert_eq!(bob.ask("disconnect-user ann 4003 banned").await, "ok");
    for client in [&mut phone, &mut laptop] {
        let expected = (vec!["last words".to_owned()], Ended::Closed(4003, "banned".to_owned()));
        assert_eq!(client.rest().await, expected);
    }
    let mut farewells = [watcher.text().await, watcher.text().await];
    farewells.sort_unstable();
    for farewell in &farewells {
        assert!(farewell.starts_with("ann channel-closed 4003 banned"), "{farewell}");
    }
    // Of two that end on two hosts, each may still see the other.
    if !hosts.are_several() {
        assert_eq!(farewells[0], "ann channel-closed 4003 banned online: false");
    }
    is_known(&hosts, "ann", false).await;
    // An offline user is no error, and the user may connect again.
    assert_eq!(bob.ask("disconnect-user ann 4003 banned").await, "ok");
    // It would reach one that comes before it has arrived.
    hosts.settle().await;
    let mut again = hosts.connect(0, "/users?user=ann").await;
    assert_eq!(again.ask("user").await, "ann");
    has_nothing_more(&hosts, &mut bob).await;
}

async fn a_connection_can_disconnect_its_own_user_and_a_new_one_can_replace_the_old(setup: Setup) {
    let hosts = setup.start(&["users"], &[]).await;
    let mut ann = hosts.connect(0, "/users?user=ann").await;
    ann.send("disconnect-user ann 1000 bye").await;
    let expected =
        (vec!["last words".to_owned(), "ok".to_owned()], Ended::Closed(1000, "bye".to_owned()));
    assert_eq!(ann.rest().await, expected);

    let mut old = hosts.connect(1, "/users?user=bob").await;
    let mut new = hosts.connect(0, "/users?instead_of=bob").await;
    assert_eq!(old.ended().await, Ended::Closed(4000, "replaced".to_owned()));
    assert_eq!(new.ask("identify bob").await, "ok");
    // In `on_connect` the call also reaches the connection that is about to open.
    let mut itself = hosts.connect(1, "/users?user=eve&instead_of=eve").await;
    assert_eq!(itself.ended().await, Ended::Closed(4000, "replaced".to_owned()));
}

async fn one_connection_can_be_disconnected_by_its_id(setup: Setup) {
    let hosts = setup.start(&["users"], &[]).await;
    let mut phone = hosts.connect(1, "/users?user=ann").await;
    let mut laptop = hosts.connect(0, "/users?user=ann").await;
    let mut bob = hosts.connect(0, "/users").await;
    let phones = id(&mut phone).await;
    assert_eq!(bob.ask(&format!("disconnect {phones} 4001 elsewhere")).await, "ok");
    assert_eq!(phone.ended().await, Ended::Closed(4001, "elsewhere".to_owned()));
    assert_eq!(bob.ask("online ann").await, "true");
    has_nothing_more(&hosts, &mut laptop).await;
    // Only its own host knows that a connection has gone.
    let mut bob = hosts.connect(1, "/users").await;
    eventually("the id to be unknown", async || {
        let answer = bob.ask(&format!("disconnect {phones} 4001 elsewhere")).await;
        (answer == "unknown-connection Gone").then_some(())
    })
    .await;
    let own = id(&mut bob).await;
    bob.send(format!("disconnect {own} 4002 oneself")).await;
    assert_eq!(bob.text().await, "ok");
    assert_eq!(bob.ended().await, Ended::Closed(4002, "oneself".to_owned()));
}

#[tokio::test]
async fn ids_of_users_codes_and_reasons_are_checked() {
    let wharf = Wharf::start(&["users"], &[]).await;
    let mut client = wharf.connect("/users").await;
    let longest = "ü".repeat(127) + "x";
    assert_eq!(client.ask(&format!("identify {longest}")).await, "ok");
    assert_eq!(client.ask("user").await, longest);
    for user in [String::new(), "ü".repeat(128)] {
        for command in [
            format!("identify {user}"),
            format!("to {user} hello"),
            format!("to-many ann,{user} hello"),
            format!("disconnect-user {user} 1000 bye"),
        ] {
            assert_eq!(client.ask(&command).await, "user-id-invalid FixCall", "{command}");
        }
        assert_eq!(client.ask(&format!("online {user}")).await, "false");
        assert_eq!(client.ask(&format!("connections {user}")).await, "");
    }
    for code in [0, 999, 1001, 1006, 1011, 2999, 5000] {
        let answer = client.ask(&format!("disconnect-user ann {code} bye")).await;
        assert_eq!(answer, "close-code-invalid FixCall", "{code}");
    }
    let too_long = "r".repeat(124);
    let answer = client.ask(&format!("disconnect-user ann 4000 {too_long}")).await;
    assert_eq!(answer, "close-reason-too-long FixCall");
    assert_eq!(client.ask("disconnect nobody 4000 bye").await, "unknown-connection Gone");
    assert_eq!(client.ask("user").await, longest, "nothing of it has happened");
}

async fn users_stay_identified_across_a_reload(setup: Setup) {
    let hosts = setup.start(&["users"], &[]).await;
    let mut ann = hosts.connect(0, "/users?user=ann").await;
    let mut bob = hosts.connect(1, "/users?user=bob").await;
    assert_eq!(ann.ask("user").await, "ann");
    let mut next = wharf_tests::artefacts::component("users");
    // A custom section makes it another file.
    next.extend_from_slice(&[0, 3, 2, b'v', b'2']);
    hosts.swap("users", &next).await;
    assert_eq!(bob.ask("to ann still-there").await, "ok");
    assert_eq!(ann.text().await, "still-there");
    assert_eq!(ann.ask("user").await, "ann");
}

async fn notifications_reach_all_devices_of_a_user_and_signing_out_closes_the_others(setup: Setup) {
    let hosts = setup.start(&["notifications"], &[]).await;
    let mut ann = hosts.connect(0, "/notifications?user=ann").await;
    assert_eq!(ann.json().await, json!({ "type": "welcome", "user": "ann", "devices": 1 }));
    let mut phone = hosts.connect(1, "/notifications?user=bob").await;
    phone.json().await;
    let mut laptop = hosts.connect(0, "/notifications?user=bob").await;
    assert_eq!(laptop.json().await["devices"], 2);
    let notify = json!({ "type": "notify", "to": ["bob", "eve"], "text": "lunch?" });
    let delivered = json!({ "type": "delivered", "online": ["bob"], "offline": ["eve"] });
    assert_eq!(ann.ask_json(notify).await, delivered);
    let notification = json!({ "type": "notification", "from": "ann", "text": "lunch?" });
    assert_eq!(phone.json().await, notification);
    assert_eq!(laptop.json().await, notification);
    phone.send_json(json!({ "type": "read", "id": "1" })).await;
    assert_eq!(laptop.json().await, json!({ "type": "read", "id": "1" }));
    laptop.send_json(json!({ "type": "announce", "text": "all" })).await;
    assert_eq!(ann.json().await["text"], "all");
    laptop.send_json(json!({ "type": "sign_out_elsewhere" })).await;
    assert_eq!(phone.ended().await, Ended::Closed(4001, "signed out".to_owned()));
    let rejected = hosts.try_connect(0, "/notifications").await.expect_err("nobody");
    assert_eq!(rejected.status, 401);
}
