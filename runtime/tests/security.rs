//! A real Kafka that asks who we are, and proves who it is: by password, plain and as a proof, and by certificate.

use std::path::Path;
use std::process::Command;

use skuflow_runtime::broker::kafka::{Identity, Kafka, Mechanism, Sasl, Security, Settings, Tls};
use skuflow_runtime::broker::{Broker, BrokerError, Commit, Record};
use skuflow_runtime::clock::Clock;
use skuflow_runtime::testing::kafka::Kafka as Server;

const PASSWORD: &str = "correct-horse";

/// An authority, a certificate of the broker's and one of a client's, in a folder.
struct Certificates(tempfile::TempDir);

impl Certificates {
    fn make() -> Self {
        let made = Self(tempfile::tempdir().expect("a temporary directory"));
        made.openssl("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.pem");
        made.openssl("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=stranger -keyout other.key -out other.pem");
        std::fs::write(made.file("names"), "subjectAltName=IP:127.0.0.1").expect("writable");
        for name in ["broker", "client"] {
            made.openssl(&format!("req -newkey rsa:2048 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"));
            made.openssl(&format!(
                "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out {name}.pem"
            ));
        }
        made.openssl("pkcs8 -topk8 -in client.key -out client.encrypted.key -passout pass:sesame");
        let chain = made.text("broker.key") + &made.text("broker.pem");
        std::fs::write(made.file("broker.chain.pem"), chain).expect("writable");
        made
    }

    fn openssl(&self, arguments: &str) {
        let done = Command::new("openssl").args(arguments.split(' ')).current_dir(&self.0).output();
        let done = done.expect("openssl is there");
        assert!(done.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&done.stderr));
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).expect("made")
    }

    fn trusted(&self) -> Tls {
        Tls { ca: Some(self.file("ca.pem")), identity: None }
    }

    fn with_identity(&self, key: &str, key_password: Option<&str>) -> Tls {
        let identity = Identity {
            certificate: self.file("client.pem"),
            key: self.text(key),
            key_password: key_password.map(str::to_owned),
        };
        Tls { identity: Some(identity), ..self.trusted() }
    }
}

/// Listeners: `PASSWORDS` takes passwords in plain text, `BOTH` through TLS, `CERTIFICATES` asks for one.
fn start(certificates: &Certificates) -> Option<Server> {
    let (stores, login) = (certificates.0.path().display(), "org.apache.kafka.common.security");
    let jaas = |listener: &str| {
        format!(
            "listener.name.{listener}.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512\n\
             listener.name.{listener}.plain.sasl.jaas.config={login}.plain.PlainLoginModule required user_shop=\"{PASSWORD}\";\n\
             listener.name.{listener}.scram-sha-256.sasl.jaas.config={login}.scram.ScramLoginModule required;\n\
             listener.name.{listener}.scram-sha-512.sasl.jaas.config={login}.scram.ScramLoginModule required;\n"
        )
    };
    let properties = format!(
        "\n{}{}ssl.keystore.type=PEM\nssl.keystore.location={stores}/broker.chain.pem\n\
         ssl.truststore.type=PEM\nssl.truststore.location={stores}/ca.pem\n\
         listener.name.certificates.ssl.client.auth=required\n",
        jaas("passwords"),
        jaas("both")
    );
    let listeners = [("PASSWORDS", "SASL_PLAINTEXT"), ("BOTH", "SASL_SSL"), ("CERTIFICATES", "SSL")];
    let server = Server::start_with(&listeners, &properties)?;
    for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
        server.run(&format!(
            "kafka-configs.sh --bootstrap-server {} --alter --entity-type users --entity-name shop --add-config \
             {mechanism}=[password={PASSWORD}]",
            server.bootstrap_servers()
        ));
    }
    Some(server)
}

fn connect(servers: &str, tls: Option<Tls>, sasl: Option<Sasl>, states: &Path) -> Result<Kafka, BrokerError> {
    let security = Security { tls, sasl };
    Kafka::connect(Settings { security, ..Settings::new(servers, "shop", states.into()) }, Clock::System)
}

fn user(mechanism: Mechanism, password: &str) -> Sasl {
    Sasl { mechanism, user: "shop".into(), password: password.into() }
}

/// Every kind of client goes through: it asks, makes, writes in a transaction, and reads.
fn works(broker: &Kafka, topic: &str) {
    broker.ensure_topic(topic, 1).expect("made");
    let mut producer = broker.producer(topic).expect("open");
    let record = Record { key: Some(b"k"), value: Some(b"v"), headers: &[] };
    producer.send(&topic.into(), Some(0), &record).expect("the topic exists");
    producer.commit(Commit::default()).expect("commits");
    producer.settle().expect("shows");
    let of = skuflow_runtime::broker::TopicPartition::new(topic, 0);
    let read = broker.reader().expect("open").fetch(&of, 0, 1 << 20).expect("in range");
    assert_eq!(read.iter().map(|batch| batch.records).sum::<u32>(), 1, "{topic}");
}

/// `Retry` would be what is said of a cluster that is not there.
fn is_refused(outcome: Result<Kafka, BrokerError>, said: &str) {
    match outcome.err() {
        Some(BrokerError::Fatal(reason)) => {
            assert!(reason.contains(said), "{reason}");
            assert!(!reason.contains(PASSWORD), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn those_who_prove_who_they_are_go_through_and_others_are_told_at_once() {
    if !Server::can_start() {
        return;
    }
    let certificates = Certificates::make();
    let Some(server) = start(&certificates) else { return };
    let states = tempfile::tempdir().expect("a temporary directory");
    let [passwords, both, asked] = ["PASSWORDS", "BOTH", "CERTIFICATES"].map(|name| server.listener(name));
    let connect = |servers: &str, tls, sasl| connect(servers, tls, sasl, states.path());
    for (topic, servers, tls, sasl) in [
        ("plain", &passwords, None, Some(user(Mechanism::Plain, PASSWORD))),
        ("scram-256", &passwords, None, Some(user(Mechanism::ScramSha256, PASSWORD))),
        ("scram-512-tls", &both, Some(certificates.trusted()), Some(user(Mechanism::ScramSha512, PASSWORD))),
        ("mtls", &asked, Some(certificates.with_identity("client.key", None)), None),
        ("mtls-encrypted-key", &asked, Some(certificates.with_identity("client.encrypted.key", Some("sesame"))), None),
    ] {
        works(&connect(servers, tls, sasl).unwrap_or_else(|error| panic!("{topic}: {error}")), topic);
    }
    let stranger = Tls { ca: Some(certificates.file("other.pem")), identity: None };
    // The certificate is for 127.0.0.1.
    let by_another_name = both.replace("127.0.0.1", "localhost");
    for (servers, tls, sasl, said) in [
        (&passwords, None, Some(user(Mechanism::Plain, "wrong-horse")), "Authentication failed"),
        (&passwords, None, Some(user(Mechanism::ScramSha512, "wrong-horse")), "Authentication failed"),
        (&both, Some(stranger), Some(user(Mechanism::Plain, PASSWORD)), "certificate verify failed"),
        (
            &by_another_name,
            Some(certificates.trusted()),
            Some(user(Mechanism::Plain, PASSWORD)),
            "certificate verify failed",
        ),
        (&asked, Some(certificates.trusted()), None, "certificate"),
    ] {
        is_refused(connect(servers, tls, sasl), said);
    }
}
