"""The algorithms of strongSwan 5.9.1 to 6.0.1, as data.

Sources, the union of the three releases: src/libstrongswan/crypto/proposal/proposal_keywords_static.txt
for keywords, src/libstrongswan/plugins/*/*_plugin.c for what each plugin has.
"""

# Name in the code, key size in bits, keywords

ENCRYPTION = """\
ENCR_3DES 0 3des
ENCR_AES_CBC 128 aes aes128
ENCR_AES_CBC 192 aes192
ENCR_AES_CBC 256 aes256
ENCR_AES_CCM_ICV12 128 aes128ccm12 aes128ccm96
ENCR_AES_CCM_ICV12 192 aes192ccm12 aes192ccm96
ENCR_AES_CCM_ICV12 256 aes256ccm12 aes256ccm96
ENCR_AES_CCM_ICV16 128 aes128ccm aes128ccm128 aes128ccm16
ENCR_AES_CCM_ICV16 192 aes192ccm aes192ccm128 aes192ccm16
ENCR_AES_CCM_ICV16 256 aes256ccm aes256ccm128 aes256ccm16
ENCR_AES_CCM_ICV8 128 aes128ccm64 aes128ccm8
ENCR_AES_CCM_ICV8 192 aes192ccm64 aes192ccm8
ENCR_AES_CCM_ICV8 256 aes256ccm64 aes256ccm8
ENCR_AES_CTR 128 aes128ctr
ENCR_AES_CTR 192 aes192ctr
ENCR_AES_CTR 256 aes256ctr
ENCR_AES_GCM_ICV12 128 aes128gcm12 aes128gcm96
ENCR_AES_GCM_ICV12 192 aes192gcm12 aes192gcm96
ENCR_AES_GCM_ICV12 256 aes256gcm12 aes256gcm96
ENCR_AES_GCM_ICV16 128 aes128gcm aes128gcm128 aes128gcm16
ENCR_AES_GCM_ICV16 192 aes192gcm aes192gcm128 aes192gcm16
ENCR_AES_GCM_ICV16 256 aes256gcm aes256gcm128 aes256gcm16
ENCR_AES_GCM_ICV8 128 aes128gcm64 aes128gcm8
ENCR_AES_GCM_ICV8 192 aes192gcm64 aes192gcm8
ENCR_AES_GCM_ICV8 256 aes256gcm64 aes256gcm8
ENCR_BLOWFISH 128 blowfish blowfish128
ENCR_BLOWFISH 192 blowfish192
ENCR_BLOWFISH 256 blowfish256
ENCR_CAMELLIA_CBC 128 camellia camellia128
ENCR_CAMELLIA_CBC 192 camellia192
ENCR_CAMELLIA_CBC 256 camellia256
ENCR_CAMELLIA_CCM_ICV12 128 camellia128ccm12 camellia128ccm96
ENCR_CAMELLIA_CCM_ICV12 192 camellia192ccm12 camellia192ccm96
ENCR_CAMELLIA_CCM_ICV12 256 camellia256ccm12 camellia256ccm96
ENCR_CAMELLIA_CCM_ICV16 128 camellia128ccm128 camellia128ccm16
ENCR_CAMELLIA_CCM_ICV16 192 camellia192ccm128 camellia192ccm16
ENCR_CAMELLIA_CCM_ICV16 256 camellia256ccm128 camellia256ccm16
ENCR_CAMELLIA_CCM_ICV8 128 camellia128ccm64 camellia128ccm8
ENCR_CAMELLIA_CCM_ICV8 192 camellia192ccm64 camellia192ccm8
ENCR_CAMELLIA_CCM_ICV8 256 camellia256ccm64 camellia256ccm8
ENCR_CAMELLIA_CTR 128 camellia128ctr
ENCR_CAMELLIA_CTR 192 camellia192ctr
ENCR_CAMELLIA_CTR 256 camellia256ctr
ENCR_CAST 128 cast128
ENCR_CHACHA20_POLY1305 0 chacha20poly1305
ENCR_CHACHA20_POLY1305 256 chacha20poly1305compat
ENCR_DES 0 des
ENCR_NULL 0 null
ENCR_NULL_AUTH_AES_GMAC 128 aes128gmac
ENCR_NULL_AUTH_AES_GMAC 192 aes192gmac
ENCR_NULL_AUTH_AES_GMAC 256 aes256gmac
ENCR_SERPENT_CBC 128 serpent serpent128
ENCR_SERPENT_CBC 192 serpent192
ENCR_SERPENT_CBC 256 serpent256
ENCR_TWOFISH_CBC 128 twofish twofish128
ENCR_TWOFISH_CBC 192 twofish192
ENCR_TWOFISH_CBC 256 twofish256
"""
INTEGRITY = """\
AUTH_AES_CMAC_96 0 aescmac
AUTH_AES_XCBC_96 0 aesxcbc
AUTH_CAMELLIA_XCBC_96 0 camelliaxcbc
AUTH_HMAC_MD5_128 0 md5_128
AUTH_HMAC_MD5_96 0 md5
AUTH_HMAC_SHA1_160 0 sha1_160
AUTH_HMAC_SHA1_96 0 sha sha1
AUTH_HMAC_SHA2_256_128 0 sha256 sha2_256
AUTH_HMAC_SHA2_256_96 0 sha256_96 sha2_256_96
AUTH_HMAC_SHA2_384_192 0 sha2_384 sha384
AUTH_HMAC_SHA2_512_256 0 sha2_512 sha512
"""
PRF = """\
PRF_AES128_CMAC 0 prfaescmac
PRF_AES128_XCBC 0 prfaesxcbc
PRF_CAMELLIA128_XCBC 0 prfcamelliaxcbc
PRF_HMAC_MD5 0 prfmd5
PRF_HMAC_SHA1 0 prfsha1
PRF_HMAC_SHA2_256 0 prfsha256
PRF_HMAC_SHA2_384 0 prfsha384
PRF_HMAC_SHA2_512 0 prfsha512
"""
KEY_EXCHANGE = """\
CURVE_25519 0 curve25519 x25519
CURVE_448 0 curve448 x448
ECP_192_BIT 0 ecp192
ECP_224_BIT 0 ecp224
ECP_224_BP 0 ecp224bp
ECP_256_BIT 0 ecp256
ECP_256_BP 0 ecp256bp
ECP_384_BIT 0 ecp384
ECP_384_BP 0 ecp384bp
ECP_512_BP 0 ecp512bp
ECP_521_BIT 0 ecp521
GOST3410_256 0 gost256
GOST3410_512 0 gost512
KE_NONE 0 modpnone none
ML_KEM_1024 0 mlkem1024
ML_KEM_512 0 mlkem512
ML_KEM_768 0 mlkem768
MODP_1024_160 0 modp1024s160
MODP_1024_BIT 0 modp1024
MODP_1536_BIT 0 modp1536
MODP_2048_224 0 modp2048s224
MODP_2048_256 0 modp2048s256
MODP_2048_BIT 0 modp2048
MODP_3072_BIT 0 modp3072
MODP_4096_BIT 0 modp4096
MODP_6144_BIT 0 modp6144
MODP_768_BIT 0 modp768
MODP_8192_BIT 0 modp8192
MODP_NULL 0 modpnull
NH_128_BIT 0 newhope128
NTRU_112_BIT 0 ntru112
NTRU_128_BIT 0 ntru128
NTRU_192_BIT 0 ntru192
NTRU_256_BIT 0 ntru256
"""
SEQUENCE_NUMBERS = """\
EXT_SEQ_NUMBERS 0 esn
NO_EXT_SEQ_NUMBERS 0 noesn
"""

# What protects nothing: no word of the pillar allows it
WORTHLESS = {
    "ENCR_NULL": "encrypts nothing",
    "ENCR_NULL_AUTH_AES_GMAC": "encrypts nothing",
    "MODP_NULL": "agrees on no secret",
}
# Broken, or within reach, by their age: RFC 8247 and 8221 (MUST NOT), RFC 7296 groups of 1024 bits and less
# (Logjam), blocks of 64 bits (SWEET32)
WEAK = """\
ENCR_DES ENCR_3DES ENCR_BLOWFISH ENCR_CAST
AUTH_HMAC_MD5_96 AUTH_HMAC_MD5_128 PRF_HMAC_MD5
MODP_768_BIT MODP_1024_BIT MODP_1024_160 ECP_192_BIT
"""

# Which plugins have an algorithm: PLUGIN_PROVIDE in src/libstrongswan/plugins/*/*_plugin.c; what a
# build leaves out (openssl without Brainpool curves, say) only the running charon knows. Algorithms
# that no plugin has are the kernel's, or nobody's.
PROVIDERS = """\
ENCR_AES_CBC: aes aesni botan gcrypt openssl padlock wolfssl
ENCR_AES_CCM_ICV8 ENCR_AES_CCM_ICV12 ENCR_AES_CCM_ICV16: aesni botan ccm openssl wolfssl
ENCR_AES_GCM_ICV8 ENCR_AES_GCM_ICV12 ENCR_AES_GCM_ICV16: aesni botan gcm openssl wolfssl
ENCR_AES_CTR: aesni ctr gcrypt openssl wolfssl
ENCR_BLOWFISH: blowfish gcrypt openssl
ENCR_CHACHA20_POLY1305: botan chapoly openssl wolfssl
ENCR_CAMELLIA_CCM_ICV8 ENCR_CAMELLIA_CCM_ICV12 ENCR_CAMELLIA_CCM_ICV16: ccm
ENCR_CAMELLIA_CTR: ctr gcrypt openssl
ENCR_CAMELLIA_CBC: gcrypt openssl wolfssl
ENCR_3DES ENCR_DES: des gcrypt openssl wolfssl
ENCR_SERPENT_CBC ENCR_TWOFISH_CBC: gcrypt
ENCR_CAST: gcrypt openssl
ENCR_NULL: openssl wolfssl
AUTH_HMAC_SHA1_96 AUTH_HMAC_SHA1_160 PRF_HMAC_SHA1: botan hmac openssl wolfssl
AUTH_HMAC_SHA2_256_128 PRF_HMAC_SHA2_256: botan hmac openssl wolfssl
AUTH_HMAC_SHA2_384_192 PRF_HMAC_SHA2_384: botan hmac openssl wolfssl
AUTH_HMAC_SHA2_512_256 PRF_HMAC_SHA2_512: botan hmac openssl wolfssl
AUTH_HMAC_MD5_96 AUTH_HMAC_MD5_128 PRF_HMAC_MD5: hmac openssl wolfssl
AUTH_AES_CMAC_96 PRF_AES128_CMAC: aesni cmac
AUTH_AES_XCBC_96 PRF_AES128_XCBC: aesni xcbc
AUTH_CAMELLIA_XCBC_96 PRF_CAMELLIA128_XCBC: xcbc
MODP_768_BIT MODP_1024_BIT MODP_1536_BIT MODP_2048_BIT: botan gcrypt gmp openssl pkcs11 wolfssl
MODP_3072_BIT MODP_4096_BIT MODP_6144_BIT MODP_8192_BIT: botan gcrypt gmp openssl pkcs11 wolfssl
MODP_1024_160 MODP_2048_224 MODP_2048_256: botan gcrypt gmp openssl pkcs11 wolfssl
ECP_192_BIT ECP_224_BIT: openssl pkcs11 wolfssl
ECP_256_BIT ECP_384_BIT ECP_521_BIT: botan openssl pkcs11 wolfssl
ECP_256_BP ECP_384_BP ECP_512_BP: botan openssl wolfssl
ECP_224_BP CURVE_448: openssl wolfssl
CURVE_25519: botan curve25519 openssl wolfssl
ML_KEM_512 ML_KEM_768 ML_KEM_1024: botan ml openssl wolfssl
NH_128_BIT: newhope
NTRU_112_BIT NTRU_128_BIT NTRU_192_BIT NTRU_256_BIT: ntru
"""
