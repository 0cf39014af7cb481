//! Just enough of HTML to hold a page to its rules: tags that nest, attributes, the text of an element.

/// An opening tag.
pub struct Tag {
    pub name: String,
    pub attributes: Vec<(String, String)>,
}

impl Tag {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

const VOID: [&str; 4] = ["meta", "img", "br", "input"];
const RAW: [&str; 2] = ["script", "style"];

/// All opening tags in order. Panics where tags do not nest, an attribute is not quoted, or a `<` stands in text.
pub fn tags(html: &str) -> Vec<Tag> {
    let mut rest = html.strip_prefix("<!doctype html>").expect("a doctype");
    let (mut open, mut tags): (Vec<String>, Vec<Tag>) = (Vec::new(), Vec::new());
    while let Some(at) = rest.find('<') {
        assert!(!rest[..at].contains('>'), "a > in text: {:?}", &rest[..at]);
        rest = &rest[at + 1..];
        let end = rest.find('>').expect("a tag that ends");
        let inside = &rest[..end];
        rest = &rest[end + 1..];
        if let Some(name) = inside.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "after {:?}", tags.last().map(|t| &t.name));
            continue;
        }
        let closed = inside.ends_with('/');
        let tag = parse(inside.trim_end_matches('/'));
        if RAW.contains(&tag.name.as_str()) {
            let close = format!("</{}>", tag.name);
            let end = rest.find(&close).expect("the end of raw text");
            rest = &rest[end + close.len()..];
        } else if !closed && !VOID.contains(&tag.name.as_str()) {
            open.push(tag.name.clone());
        }
        tags.push(tag);
    }
    assert!(open.is_empty(), "left open: {open:?}");
    tags
}

fn parse(inside: &str) -> Tag {
    let (name, mut rest) = inside.split_once([' ', '\n']).unwrap_or((inside, ""));
    assert!(name.chars().all(|c| c.is_ascii_alphanumeric()), "not a tag: <{inside}>");
    let mut attributes = Vec::new();
    while !rest.trim().is_empty() {
        rest = rest.trim_start();
        let end = rest.find(['=', ' ']).unwrap_or(rest.len());
        let key = rest[..end].to_owned();
        rest = &rest[end..];
        let value = match rest.strip_prefix("=\"") {
            Some(quoted) => {
                let (value, after) = quoted.split_once('"').expect("a closing quote");
                rest = after;
                value.to_owned()
            }
            None => String::new(),
        };
        assert!(
            key.chars().all(|c| c.is_ascii_alphanumeric() || "-:".contains(c)),
            "not an attribute: {key:?} in <{inside}>"
        );
        attributes.push((key, value));
    }
    Tag { name: name.to_owned(), attributes }
}

/// What stands between the first `<name` tag and its end, as it is.
pub fn raw<'a>(html: &'a str, name: &str) -> &'a str {
    let start = html.find(&format!("<{name}>")).expect("the element") + name.len() + 2;
    &html[start..start + html[start..].find(&format!("</{name}>")).expect("its end")]
}

/// The page's text with tags left out, entities read, and white space as single spaces.
pub fn text(html: &str) -> String {
    let body = &html[html.find("<body>").expect("a body")..html.find("<script>").expect("a script")];
    let mut text = String::new();
    for piece in body.split('<') {
        text.push_str(piece.split_once('>').map_or("", |(_, t)| t));
        text.push(' ');
    }
    let entities = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#x27;", "'"),
        ("&#x2f;", "/"),
        ("&nbsp;", " "),
        ("&amp;", "&"),
    ];
    let read = entities.iter().fold(text, |t, (entity, sign)| t.replace(entity, sign));
    read.split_whitespace().collect::<Vec<_>>().join(" ")
}
