//! What a type's attributes are: needed to tell an unknown attribute from an absent one, to read the untyped
//! operands of a filter, and to know what a selector may never leave out.
//!
//! Tables of this kind stand next to the wire types; a test holds both to each other.

/// The shape of an attribute's value.
#[derive(Debug)]
pub enum Shape {
    /// A string or an enumeration.
    Text,
    /// An identifier; UUIDs compare without regard to case.
    Identifier,
    /// A number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A date and time (RFC 3339).
    Time,
    /// Key-value pairs: any key may stand below.
    Map,
    /// A structured value.
    Object(&'static ObjectType),
    /// Several values.
    List(&'static Shape),
}

/// One attribute of a type.
#[derive(Debug)]
pub struct Attribute {
    /// Its name in JSON.
    pub name: &'static str,
    /// Whether it is always present (lower bound 1): selectors never remove it.
    pub mandatory: bool,
    /// Whether a plain request leaves it out.
    pub default_excluded: bool,
    /// Its values.
    pub shape: Shape,
}

impl Attribute {
    /// An attribute that is always present.
    pub const fn required(name: &'static str, shape: Shape) -> Self {
        Self { name, mandatory: true, default_excluded: false, shape }
    }

    /// An attribute that may be absent.
    pub const fn optional(name: &'static str, shape: Shape) -> Self {
        Self { name, mandatory: false, default_excluded: false, shape }
    }

    /// An attribute that comes only when asked for.
    pub const fn on_request(name: &'static str, shape: Shape) -> Self {
        Self { name, mandatory: false, default_excluded: true, shape }
    }
}

/// A type with its attributes.
#[derive(Debug)]
pub struct ObjectType {
    /// The type's name, for messages.
    pub name: &'static str,
    /// Its attributes.
    pub attributes: &'static [Attribute],
}

impl ObjectType {
    /// The attribute of this name.
    pub fn attribute(&self, name: &str) -> Option<&'static Attribute> {
        self.attributes.iter().find(|attribute| attribute.name == name)
    }
}
