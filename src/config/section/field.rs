//! The fields of a user, by WorkflowGen's names.

macro_rules! user_fields {
    ($($variant:ident = $name:literal),+ $(,)?) => {
        /// A field of a user, as WorkflowGen has it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[expect(missing_docs, reason = "the names are WorkflowGen's own")]
        pub enum UserField { $($variant),+ }

        impl UserField {
            /// Every field, in the order in which they are shown.
            pub const ALL: &'static [UserField] = &[$(UserField::$variant),+];

            /// The field's name in the file, in JSON and in tables.
            pub fn name(self) -> &'static str {
                match self { $(UserField::$variant => $name),+ }
            }

            /// The field of that name.
            pub fn from_name(name: &str) -> Option<UserField> {
                match name { $($name => Some(UserField::$variant),)+ _ => None }
            }
        }
    };
}

user_fields! {
    Username = "username", Name = "name", FirstName = "first_name", Email = "email", Phone = "phone",
    Mobile = "mobile", Fax = "fax", Pager = "pager", Office = "office", Department = "department",
    Company = "company", JobTitle = "job_title", Title = "title", EmployeeNumber = "employee_number",
    EmployeeType = "employee_type", Initials = "initials", PostalAddress = "postal_address",
    ZipCode = "zip_code", City = "city", State = "state", Country = "country", Manager = "manager",
    TimeZone = "time_zone", Language = "language", ExtendedAttribute1 = "extended_attribute_1",
    ExtendedAttribute2 = "extended_attribute_2", ExtendedAttribute3 = "extended_attribute_3",
    ExtendedAttribute4 = "extended_attribute_4", ExtendedAttribute5 = "extended_attribute_5",
    SystemIdentifier = "system_identifier", DisplayName = "display_name",
}
