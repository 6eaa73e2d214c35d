//! The macros behind the table of operators.

/// A record of the plan: a struct whose fields have roles, with everything that follows from them.
macro_rules! record {
    (
        $(#[$doc:meta])+
        pub struct $name:ident {
            $($(#[$field_doc:meta])+ $field:ident: $ty:ty, $role:ident;)*
        }
    ) => {
        $(#[$doc])+
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $($(#[$field_doc])+ pub $field: $ty,)*
        }

        impl $name {
            fn decode(words: &mut $crate::format::Words) -> Result<Self, $crate::FormatError> {
                Ok($name { $($field: <$ty as Field>::decode(words, stringify!($field))?),* })
            }

            #[cfg(feature = "encode")]
            fn encode(&self, sink: &mut $crate::format::WordSink) {
                $(self.$field.encode(sink);)*
            }

            fn operands(&self, visit: &mut dyn FnMut(Operand)) {
                $(<field::$role as Role<$ty>>::operands(&self.$field, visit);)*
            }

            fn check(&self) -> field::Check {
                $(field::check::<$ty, field::$role>(&self.$field, stringify!($field))?;)*
                Ok(())
            }

            fn show(&self, label: &str, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                $(let $field = &self.$field;)*
                show_fields!(f, label, $($field: $ty, $role;)*)
            }
        }
    };
}

/// A line of text: results, label, operands, attributes.
macro_rules! show_fields {
    ($f:ident, $label:expr, $($field:ident: $ty:ty, $role:ident;)*) => {{
        $(if <field::$role as Role<$ty>>::PLACE == Place::Result {
            Field::show($field, $f)?;
        })*
        write!($f, " = {}", $label)?;
        $(if <field::$role as Role<$ty>>::PLACE == Place::Operand {
            $f.write_str(" ")?;
            Field::show($field, $f)?;
        })*
        $(match <field::$role as Role<$ty>>::PLACE {
            Place::Attribute => {
                $f.write_str(concat!(" ", stringify!($field), " "))?;
                Field::show($field, $f)?;
            }
            Place::Flag if <field::$role as Role<$ty>>::holds($field) => {
                $f.write_str(concat!(" ", stringify!($field)))?;
            }
            _ => {}
        })*
        Ok(())
    }};
}

/// The operators: the enumeration, and everything that follows from the rows.
macro_rules! operators {
    (
        $(#[$record_doc:meta])+
        $record_tag:literal $record:ident;
        $(
            $(#[$doc:meta])+
            $tag:literal $label:literal $name:ident {
                $($(#[$field_doc:meta])+ $field:ident: $ty:ty, $role:ident;)*
            }
        )*
    ) => {
        /// One operator.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Op {
            $(#[$record_doc])+
            $record($record),
            $(
                $(#[$doc])+
                $name {
                    $($(#[$field_doc])+ $field: $ty,)*
                },
            )*
        }

        impl Op {
            /// The label of its row.
            fn row_label(&self) -> &'static str {
                match self {
                    Op::$record(record) => record.kind.label(),
                    $(Op::$name { .. } => $label,)*
                }
            }

            /// Calls `visit` for each tensor and float slot that it reads or writes.
            pub fn operands(&self, visit: &mut dyn FnMut(Operand)) {
                match self {
                    Op::$record(record) => record.operands(visit),
                    $(Op::$name { $($field),* } => {
                        $(<field::$role as Role<$ty>>::operands($field, visit);)*
                    })*
                }
            }

            /// Reads a record of the plan section.
            pub(crate) fn decode(words: &mut $crate::format::Words) -> Result<Self, $crate::FormatError> {
                Ok(match words.u32()? {
                    $record_tag => Op::$record($record::decode(words)?),
                    $($tag => Op::$name { $($field: <$ty as Field>::decode(words, stringify!($field))?),* },)*
                    other => return Err(words.error(format!("operator tag {other} is not in the table"))),
                })
            }

            /// Writes what [`Op::decode`] reads.
            #[cfg(feature = "encode")]
            pub(crate) fn encode(&self, sink: &mut $crate::format::WordSink) {
                match self {
                    Op::$record(record) => {
                        sink.u32($record_tag);
                        record.encode(sink);
                    }
                    $(Op::$name { $($field),* } => {
                        sink.u32($tag);
                        $($field.encode(sink);)*
                    })*
                }
            }

            /// Checks what can be said of each field alone.
            pub(crate) fn check_fields(&self) -> field::Check {
                match self {
                    Op::$record(record) => record.check(),
                    $(Op::$name { $($field),* } => {
                        $(field::check::<$ty, field::$role>($field, stringify!($field))?;)*
                        Ok(())
                    })*
                }
            }
        }

        impl std::fmt::Display for Op {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self {
                    Op::$record(record) => record.show(self.row_label(), f),
                    $(Op::$name { $($field),* } => show_fields!(f, $label, $($field: $ty, $role;)*),)*
                }
            }
        }

        /// Tag, label and names of the fields of every row, as in docs/format.md.
        pub const ROWS: &[Row] = &[
            Row { tag: $record_tag, label: "conv", fields: $record::FIELDS },
            $(Row { tag: $tag, label: $label, fields: &[$(stringify!($field)),*] },)*
        ];
    };
}

pub(crate) use {operators, record, show_fields};
