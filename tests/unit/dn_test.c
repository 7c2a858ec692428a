#include <criterion/criterion.h>

#include "core/auth/dn.h"

static bool same(const char *a, const char *b, bool ordered)
{
    return dn_equal(bytes_of(a), bytes_of(b), ordered);
}

Test(dn, spelling_does_not_matter_and_content_does)
{
    cr_assert(same("CN=a,O=b", "cn = a , o= b", true));
    cr_assert(same("CN=a\\,b", "CN=a\\2cb", true));
    cr_assert(same("CN=\\ a", "CN=\\20a", true));
    cr_assert_not(same("CN=a", "CN=A", true));
    cr_assert_not(same("CN=a", "OU=a", true));
    cr_assert_not(same("CN=a,O=b", "CN=a", true));
}

Test(dn, order_of_rdns_matters_only_when_asked)
{
    cr_assert_not(same("CN=a,O=b", "O=b,CN=a", true));
    cr_assert(same("CN=a,O=b", "O=b,CN=a", false));
    cr_assert_not(same("CN=a,CN=a,O=b", "CN=a,O=b,O=b", false));
}

/* CVE-2026-33248: multi-valued and repeated RDNs were compared wrongly. */
Test(dn, multi_valued_rdns_are_compared_as_sets_of_their_own)
{
    cr_assert(same("CN=a+OU=x,O=b", "OU=x+CN=a,O=b", true));
    cr_assert_not(same("CN=a+OU=x,O=b", "CN=a,OU=x,O=b", true));
    cr_assert_not(same("CN=a+OU=x,O=b", "CN=a,OU=x,O=b", false));
    cr_assert_not(same("CN=a,OU=x+O=b", "CN=a+OU=x,O=b", false));
    cr_assert_not(same("DC=a,DC=b,CN=x", "DC=a,DC=a,CN=x", false));
    cr_assert(same("DC=a,DC=b,CN=x", "DC=b,DC=a,CN=x", false));
}

Test(dn, what_is_no_name_equals_nothing)
{
    static const char *const bad[] = {"", "a", "=", "=b", "CN=a,", "CN=a,,O=b", "CN=a\\", "CN=a+"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        cr_assert_not(same(bad[i], bad[i], true), "%s", bad[i]);
    }
    char many[33 * 5 + 1] = "";
    for (int i = 0; i < 33; i++) {
        strcat(many, i == 0 ? "CN=a" : ",CN=a");
    }
    cr_assert_not(same(many, many, true));
}
