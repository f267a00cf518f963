//! EC2's XML.

use super::*;

fn answer(inside: &str) -> String {
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<DescribeNetworkInterfacesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
  <requestId>r</requestId>{inside}
</DescribeNetworkInterfacesResponse>"#
    )
}

fn parsed(text: &str) -> Result<Option<IpAddr>, BoxError> {
    public_address(text.as_bytes())
}

#[test]
fn the_public_address_is_found_and_no_other() {
    let text = answer(
        "<networkInterfaceSet><item>
            <privateIpAddress>10.0.0.7</privateIpAddress>
            <attachment><publicIp>192.0.2.1</publicIp></attachment>
            <privateIpAddressesSet><item><association><publicIp>192.0.2.2</publicIp></association></item></privateIpAddressesSet>
            <association><ipOwnerId>amazon</ipOwnerId><publicIp> 203.0.113.9 </publicIp></association>
        </item></networkInterfaceSet>",
    );
    assert_eq!(parsed(&text).unwrap(), Some("203.0.113.9".parse().unwrap()));
}

#[test]
fn an_interface_without_a_public_address_has_none() {
    for inside in [
        "",
        "<networkInterfaceSet/>",
        "<networkInterfaceSet><item><privateIpAddress>10.0.0.7</privateIpAddress></item></networkInterfaceSet>",
        "<networkInterfaceSet><item><association/></item></networkInterfaceSet>",
        "<networkInterfaceSet><item><association><publicIp/></association></item></networkInterfaceSet>",
    ] {
        assert_eq!(parsed(&answer(inside)).unwrap(), None, "{inside}");
    }
}

#[test]
fn what_is_not_an_answer_to_the_question_is_an_error() {
    let with = |ip: &str| {
        answer(&format!(
            "<networkInterfaceSet><item><association><publicIp>{ip}</publicIp></association></item></networkInterfaceSet>"
        ))
    };
    for text in [
        "".to_owned(),
        "{}".to_owned(),
        "<html><body>Bad gateway</body></html>".to_owned(),
        "<DescribeVpcsResponse/>".to_owned(),
        answer("<networkInterfaceSet>"),
        with("localhost"),
        with("203.0.113.9.1"),
    ] {
        assert!(parsed(&text).is_err(), "{text}");
    }
    assert!(public_address(&[0xff, 0xfe, 0x00]).is_err());
}

#[test]
fn entities_do_not_expand_without_end() {
    let mut bomb = String::from("<!DOCTYPE x [<!ENTITY a0 \"ha\">");
    for level in 1..40 {
        let below = level - 1;
        bomb.push_str(&format!("<!ENTITY a{level} \"&a{below};&a{below};\">"));
    }
    bomb.push_str("]><DescribeNetworkInterfacesResponse>&a39;</DescribeNetworkInterfacesResponse>");
    assert!(parsed(&bomb).is_err());
}

#[test]
fn an_error_has_its_code_and_whatever_else_it_says() {
    let text = "<Response><Errors><Error><Code>RequestLimitExceeded</Code><Message>slow down</Message></Error></Errors>\
                <RequestID>r-1</RequestID></Response>";
    let meta = refusal(text.as_bytes());
    assert_eq!(meta.code(), Some("RequestLimitExceeded"));
    assert_eq!(meta.message(), Some("slow down"));
    assert_eq!(meta.extra("aws_request_id"), Some("r-1"));
    for text in ["", "<html>", "<Response/>", "<Response><Errors/></Response>"] {
        assert_eq!(refusal(text.as_bytes()).code(), None, "{text}");
    }
}

#[test]
fn china_has_a_name_of_its_own() {
    assert_eq!(
        public_endpoint("eu-central-1"),
        "https://ec2.eu-central-1.amazonaws.com"
    );
    assert_eq!(
        public_endpoint("us-gov-west-1"),
        "https://ec2.us-gov-west-1.amazonaws.com"
    );
    assert_eq!(
        public_endpoint("cn-north-1"),
        "https://ec2.cn-north-1.amazonaws.com.cn"
    );
}

#[test]
fn a_signed_request_does_not_print_its_signature() {
    let signed = Signed {
        headers: vec![("authorization".to_owned(), "AWS4-HMAC-SHA256 secret".to_owned())],
        body: "Action=x".to_owned(),
    };
    assert!(!format!("{signed:?}").contains("secret"));
}
