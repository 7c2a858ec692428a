/* dn: distinguished names, as certificates and configurations spell them. RFC 4514. */
#ifndef CORE_AUTH_DN_H
#define CORE_AUTH_DN_H

#include "core/base/bytes.h"

/* The same name? Attribute types compare without case, values byte by byte, blanks around them and
 * the way of escaping do not matter; nor does the order of attributes within one RDN. The order of
 * the RDNs matters when `ordered`. False when either is not well-formed, or has more than 32
 * attributes. */
bool dn_equal(struct bytes a, struct bytes b, bool ordered);

#endif
