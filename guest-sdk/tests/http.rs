//! Outgoing HTTP, as a plugin's own tests see it.

use wharf::http;
use wharf::prelude::*;
use wharf::testing::{HttpAnswer, HttpRequest, TestHost};

/// Greets users by the names that some directory has for them.
#[derive(Serialize, Deserialize)]
struct Greets {
    name: String,
}

#[derive(Serialize, Deserialize)]
struct Profile {
    name: String,
}

#[wharf::channel]
impl Channel for Greets {
    const PATHS: &[&str] = &["/greets/:user"];

    fn on_connect(conn: &Connection) -> Result<Self, Refusal> {
        let url = format!("https://api.example.com/users/{}", conn.param("user")?);
        let answer = http::get(&url).send()?;
        if answer.status() == 404 {
            return Err(Refusal::unauthorized("who are you?"));
        }
        Ok(Greets { name: answer.ok()?.json::<Profile>()?.name })
    }

    fn on_message(&mut self, conn: &Connection, message: String) -> Result {
        let answer = http::post("https://api.example.com/log")
            .header("X-Name", &self.name)
            .json(&json!({ "message": message }))?
            .max_body_bytes(100)
            .send();
        match answer {
            Ok(answer) => conn.send(answer.text()?),
            Err(error) => {
                conn.send(error.host_error().map_or("none", |error| &error.code).to_owned())
            }
        }
    }
}

fn host() -> TestHost {
    let host = TestHost::new::<Greets>();
    host.http_answer("https://api.example.com/users/*", HttpAnswer::new(404));
    host.http_answer("https://api.example.com/users/7", HttpAnswer::json(json!({ "name": "Ann" })));
    host
}

#[test]
fn answers_are_scripted_and_requests_recorded() {
    let host = host();
    assert_eq!(host.connect("/greets/8").expect_refused().status(), Some(401));
    let ann = host.connect("/greets/7").expect_open();
    host.http_answer("https://api.example.com/log", HttpAnswer::new(202).body("noted"));
    host.http_requests();
    ann.send("hello");
    ann.assert_received("noted");
    let request = HttpRequest {
        method: "POST".to_owned(),
        url: "https://api.example.com/log".to_owned(),
        headers: vec![
            ("x-name".to_owned(), b"Ann".to_vec()),
            ("content-type".to_owned(), b"application/json".to_vec()),
        ],
        body: br#"{"message":"hello"}"#.to_vec(),
    };
    assert_eq!(host.http_requests(), [request]);
}

#[test]
fn failures_are_those_of_the_host() {
    let host = host();
    let ann = host.connect("/greets/7").expect_open();
    for (answer, code) in [
        (None, "http-not-granted"),
        (Some(HttpAnswer::unreachable()), "http-unreachable"),
        (Some(HttpAnswer::timeout()), "http-timeout"),
        (Some(HttpAnswer::new(200).body(vec![b'x'; 101])), "http-response-too-big"),
    ] {
        if let Some(answer) = answer {
            host.http_answer("https://api.example.com/log", answer);
        }
        ann.send("hello");
        ann.assert_received(code);
    }
    host.run(|| {
        let code = |request: http::Request| {
            let error = request.send().expect_err("a refusal");
            error.host_error().expect("of the host").code.clone()
        };
        assert_eq!(code(http::get("api.example.com")), "http-url-invalid");
        let url = "https://api.example.com/users/7";
        assert_eq!(code(http::get(url).header("Host", "a")), "http-header-invalid");
        assert_eq!(code(http::get(url).header("a", "b\r\nc: d")), "http-header-invalid");
    });
}

#[test]
fn an_answer_that_is_not_ok_says_what_it_was() {
    let host = host();
    host.http_answer("https://a.example/", HttpAnswer::new(500).body("out of\nluck\n"));
    let error = host.run(|| http::get("https://a.example/").send()?.ok()).unwrap_err();
    assert_eq!(error.to_string(), "the answer has status 500: out of\nluck");
}
