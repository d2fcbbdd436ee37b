// Vestibule's half inside WorkflowGen: an ASP.NET module that signs in whoever Vestibule vouches for.
//
// For .NET Framework 4.8, with nothing beside it; C# 5, so that the framework's own csc.exe builds it:
//   csc /target:library /optimize /reference:System.Web.dll /reference:System.Configuration.dll
//       /out:Vestibule.WorkflowGen.dll VestibuleIdentityModule.cs
// README.md beside this file has the settings and says where the DLL goes.
//
// A request is believed by cryptography alone: the session token in its cookie, or the signed assertion
// in a header. Whatever else it is, it is answered 401; a module that is configured badly answers 500 to everything.

using System;
using System.Collections.Generic;
using System.Collections.Specialized;
using System.Configuration;
using System.Diagnostics;
using System.Globalization;
using System.IO;
using System.Net;
using System.Net.Sockets;
using System.Runtime.CompilerServices;
using System.Security.Cryptography;
using System.Security.Principal;
using System.Text;
using System.Text.RegularExpressions;
using System.Web;

namespace Vestibule.WorkflowGen
{
    /// <summary>The module for the slot <c>ApplicationSecurityAuthenticationModule</c>.</summary>
    public sealed class IdentityModule : IHttpModule
    {
        private IEvidence[] evidence;

        /// <summary>Reads the settings.</summary>
        /// <exception cref="ConfigurationErrorsException">A setting is missing or wrong: nothing is served.</exception>
        public void Init(HttpApplication application)
        {
            evidence = new Settings(ConfigurationManager.AppSettings, HttpRuntime.AppDomainAppPath).Evidence();
            application.AuthenticateRequest += OnAuthenticateRequest;
        }

        /// <summary>Holds nothing that needs it.</summary>
        public void Dispose()
        {
        }

        private void OnAuthenticateRequest(object sender, EventArgs e)
        {
            HttpApplication application = (HttpApplication)sender;
            string reason;
            try
            {
                string username = UsernameOf(application.Request);
                application.Context.User =
                    new GenericPrincipal(new GenericIdentity(username, "Vestibule"), new string[0]);
                return;
            }
            catch (Refusal refusal)
            {
                reason = refusal.Message;
            }
            catch (Exception fault)
            {
                // Whatever a hostile token provokes in the framework is a refusal, never a way in.
                reason = "what should say who this is cannot be read (" + fault.GetType().Name + ")";
            }
            Refuse(application, reason);
        }

        // The first kind that the request brings decides, so that one request never names two people.
        private string UsernameOf(HttpRequest request)
        {
            foreach (IEvidence kind in evidence)
            {
                string username = kind.UsernameOf(request);
                if (username != null)
                {
                    return Username.Checked(username);
                }
            }
            throw new Refusal("it brings nothing that says who this is; did it come past Vestibule?");
        }

        // The reason names a check, never a value: pages and logs get no token and no claim.
        private static void Refuse(HttpApplication application, string reason)
        {
            Trace.TraceWarning("Vestibule.WorkflowGen: 401, " + reason);
            HttpResponse response = application.Response;
            response.Clear();
            response.StatusCode = 401;
            response.TrySkipIisCustomErrors = true;
            response.SuppressFormsAuthenticationRedirect = true;
            response.Cache.SetCacheability(HttpCacheability.NoCache);
            response.Cache.SetNoStore();
            // Browsers pass over a scheme that they do not know, and ask for no password.
            response.AppendHeader("WWW-Authenticate", "Cookie");
            response.ContentType = "text/plain";
            response.Write("401: the request is not signed in: " + reason + ".\n");
            application.CompleteRequest();
        }
    }

    /// <summary>Something in a request that may say who sends it.</summary>
    internal interface IEvidence
    {
        /// <summary>The username; null where the request has no such thing.</summary>
        /// <exception cref="Refusal">It has, and it is not to be believed.</exception>
        string UsernameOf(HttpRequest request);
    }

    /// <summary>The session token, in its cookie. Of several, the first that verifies counts.</summary>
    /// <remarks>Read unvalidated, here and below: the framework's own alarm over a "&lt;" would be a 500.</remarks>
    internal sealed class SessionCookie : IEvidence
    {
        private readonly string name;
        private readonly TokenCheck check;

        internal SessionCookie(string name, TokenCheck check)
        {
            this.name = name;
            this.check = check;
        }

        public string UsernameOf(HttpRequest request)
        {
            Refusal refusal = null;
            for (int i = 0; i < request.Unvalidated.Cookies.Count; i++)
            {
                HttpCookie cookie = request.Unvalidated.Cookies[i];
                if (!string.Equals(cookie.Name, name, StringComparison.Ordinal))
                {
                    continue;
                }
                try
                {
                    return check.UsernameOf(cookie.Value);
                }
                catch (Refusal fault)
                {
                    refusal = refusal ?? fault;
                }
            }
            if (refusal != null)
            {
                throw refusal;
            }
            return null;
        }
    }

    /// <summary>The signed assertion, in its header.</summary>
    internal sealed class AssertionHeader : IEvidence
    {
        private readonly string name;
        private readonly TokenCheck check;

        internal AssertionHeader(string name, TokenCheck check)
        {
            this.name = name;
            this.check = check;
        }

        public string UsernameOf(HttpRequest request)
        {
            string value = request.Unvalidated.Headers[name];
            return value == null ? null : check.UsernameOf(value);
        }
    }

    /// <summary>A bare header, believed from listed addresses only, where the operator asked for it.</summary>
    internal sealed class BareHeader : IEvidence
    {
        private readonly string name;
        private readonly Network[] proxies;

        internal BareHeader(string name, Network[] proxies)
        {
            this.name = name;
            this.proxies = proxies;
        }

        public string UsernameOf(HttpRequest request)
        {
            string[] values = request.Unvalidated.Headers.GetValues(name);
            if (values == null)
            {
                return null;
            }
            IPAddress peer;
            if (!IPAddress.TryParse(request.UserHostAddress, out peer)
                || !Array.Exists(proxies, delegate(Network network) { return network.Contains(peer); }))
            {
                throw new Refusal("it has the user header, and comes from an address that VestibuleProxies does not list");
            }
            if (values.Length != 1)
            {
                throw new Refusal("it has more than one user header");
            }
            return PercentDecoded(values[0]);
        }

        // Vestibule writes UTF-8, percent-encoded where it is not visible ASCII; "+" stands for itself.
        private static string PercentDecoded(string value)
        {
            List<byte> bytes = new List<byte>(value.Length);
            for (int i = 0; i < value.Length; i++)
            {
                byte number;
                if (value[i] != '%')
                {
                    if (value[i] < '!' || value[i] > '~')
                    {
                        throw new Refusal("the user header is not percent-encoded");
                    }
                    bytes.Add((byte)value[i]);
                }
                else if (i + 2 < value.Length && byte.TryParse(value.Substring(i + 1, 2),
                    NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out number))
                {
                    bytes.Add(number);
                    i += 2;
                }
                else
                {
                    throw new Refusal("the user header has a broken percent-escape");
                }
            }
            return Wire.Utf8.GetString(bytes.ToArray());
        }
    }

    /// <summary>What a token must be: a JWT (RFC 7519) in compact serialization (RFC 7515 7.1).</summary>
    internal sealed class TokenCheck
    {
        private const int LongestToken = 16384;

        private readonly string what;
        private readonly string algorithm;
        private readonly IKey[] keys;
        private readonly string issuer;
        private readonly string audience;
        private readonly string usernameClaim;
        private readonly int skew;
        // RFC 8725 3.11: what is made for one purpose never serves the other.
        private readonly bool isAssertion;

        internal TokenCheck(string what, bool isAssertion, string algorithm, IKey[] keys, string issuer,
            string audience, string usernameClaim, int skew)
        {
            this.what = what;
            this.isAssertion = isAssertion;
            this.algorithm = algorithm;
            this.keys = keys;
            this.issuer = issuer;
            this.audience = audience;
            this.usernameClaim = usernameClaim;
            this.skew = skew;
        }

        /// <summary>The username that a token names.</summary>
        /// <exception cref="Refusal">It is not genuine, not for here, or not for now.</exception>
        internal string UsernameOf(string token)
        {
            IDictionary<string, object> claims = Verified(token);
            Expect(string.Equals(claims.Text("iss"), issuer, StringComparison.Ordinal), "is of another issuer (iss)");
            Expect(NamesAudience(claims.Value("aud")), "is for another audience (aud)");
            double now = (DateTime.UtcNow - new DateTime(1970, 1, 1, 0, 0, 0, DateTimeKind.Utc)).TotalSeconds;
            Expect(Number(claims, "exp") > now - skew, "has expired (exp)");
            Expect(!claims.ContainsKey("nbf") || Number(claims, "nbf") <= now + skew, "is not valid yet (nbf)");
            Expect(!claims.ContainsKey("iat") || Number(claims, "iat") <= now + skew, "was made in the future (iat)");
            string username = claims.Text(usernameClaim);
            Expect(username != null, "has no username claim");
            return username;
        }

        // The signature comes before anything that the token says, but for what finds the key.
        private IDictionary<string, object> Verified(string token)
        {
            Expect(!string.IsNullOrEmpty(token) && token.Length <= LongestToken, "is empty, or longer than 16384 characters");
            string[] parts = token.Split('.');
            Expect(parts.Length == 3, "is not made of three parts");
            IDictionary<string, object> header = Object(parts[0]);
            Expect(string.Equals(header.Text("alg"), algorithm, StringComparison.Ordinal), "is signed by another algorithm than " + algorithm);
            Expect(!header.ContainsKey("crit"), "has critical extensions");
            string type = header.Text("typ");
            Expect(isAssertion ? IsType(type, "assertion+jwt") : !header.ContainsKey("typ") || IsType(type, "JWT"),
                "is of another type (typ)");
            byte[] signed = Encoding.ASCII.GetBytes(parts[0] + "." + parts[1]);
            byte[] signature = Base64Url(parts[2]);
            string id = header.Text("kid");
            Expect(Array.Exists(keys, delegate(IKey key) { return key.MayBe(id) && key.Signed(signed, signature); }),
                "has a signature that does not verify");
            return Object(parts[1]);
        }

        private bool NamesAudience(object claim)
        {
            object[] several = claim as object[];
            string one = claim as string;
            return several == null
                ? string.Equals(one, audience, StringComparison.Ordinal)
                : Array.Exists(several, delegate(object each) { return audience.Equals(each as string, StringComparison.Ordinal); });
        }

        // RFC 7515 4.1.9: a media type, compared without case, its "application/" left out or not.
        private static bool IsType(string type, string expected)
        {
            return string.Equals(type, expected, StringComparison.OrdinalIgnoreCase)
                || string.Equals(type, "application/" + expected, StringComparison.OrdinalIgnoreCase);
        }

        private double Number(IDictionary<string, object> claims, string name)
        {
            object value = claims.Value(name);
            Expect(value is double, "has no number in " + name);
            return (double)value;
        }

        private IDictionary<string, object> Object(string part)
        {
            IDictionary<string, object> parsed = Wire.JsonObject(Base64Url(part));
            Expect(parsed != null, "does not hold JSON objects");
            return parsed;
        }

        private byte[] Base64Url(string part)
        {
            byte[] bytes = Wire.Base64Url(part);
            Expect(bytes != null, "is not base64url");
            return bytes;
        }

        private void Expect(bool holds, string otherwise)
        {
            if (!holds)
            {
                throw new Refusal("the " + what + " " + otherwise);
            }
        }
    }

    /// <summary>What verifies signatures (RFC 7518 3).</summary>
    internal interface IKey
    {
        /// <summary>Whether a token with that <c>kid</c> may be signed by it.</summary>
        bool MayBe(string id);

        /// <summary>Whether it made that signature.</summary>
        bool Signed(byte[] data, byte[] signature);
    }

    /// <summary>HS256: HMAC with SHA-256 by a shared secret.</summary>
    internal sealed class SharedSecret : IKey
    {
        private readonly byte[] secret;

        internal SharedSecret(byte[] secret)
        {
            this.secret = secret;
        }

        internal bool Is(SharedSecret other)
        {
            return EqualInConstantTime(secret, other.secret);
        }

        // Secrets have no names here: rotation lists several, and each is tried.
        public bool MayBe(string id)
        {
            return true;
        }

        public bool Signed(byte[] data, byte[] signature)
        {
            using (HMACSHA256 hmac = new HMACSHA256(secret))
            {
                return EqualInConstantTime(hmac.ComputeHash(data), signature);
            }
        }

        // The time tells the length at the most, which everybody knows.
        [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.NoOptimization)]
        private static bool EqualInConstantTime(byte[] left, byte[] right)
        {
            if (left.Length != right.Length)
            {
                return false;
            }
            int difference = 0;
            for (int i = 0; i < left.Length; i++)
            {
                difference |= left[i] ^ right[i];
            }
            return difference == 0;
        }
    }

    /// <summary>RS256 or ES256: a public key of a JWK Set (RFC 7517).</summary>
    internal sealed class PublicKey : IKey
    {
        private readonly string id;
        private readonly RSAParameters rsa;
        private readonly ECParameters? ec;

        private PublicKey(string id, RSAParameters rsa, ECParameters? ec)
        {
            this.id = id;
            this.rsa = rsa;
            this.ec = ec;
        }

        public bool MayBe(string named)
        {
            return id == null || named == null || string.Equals(id, named, StringComparison.Ordinal);
        }

        public bool Signed(byte[] data, byte[] signature)
        {
            if (ec.HasValue)
            {
                // RFC 7518 3.4 wants R and S side by side, and so does the framework.
                using (ECDsa key = ECDsa.Create(ec.Value))
                {
                    return signature.Length == 64 && key.VerifyData(data, signature, HashAlgorithmName.SHA256);
                }
            }
            using (RSA key = RSA.Create())
            {
                key.ImportParameters(rsa);
                return key.VerifyData(data, signature, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1);
            }
        }

        /// <summary>The keys of a set that may sign by that algorithm.</summary>
        internal static PublicKey[] OfSet(byte[] json, string algorithm)
        {
            IDictionary<string, object> set = Wire.JsonObject(json);
            object[] listed = (set == null ? null : set.Value("keys") as object[]) ?? new object[0];
            List<PublicKey> keys = new List<PublicKey>();
            foreach (object each in listed)
            {
                IDictionary<string, object> jwk = each as IDictionary<string, object>;
                if (jwk != null && (jwk.Text("use") ?? "sig") == "sig" && (jwk.Text("alg") ?? algorithm) == algorithm)
                {
                    PublicKey key = algorithm == "ES256" ? OnP256(jwk) : OfRsa(jwk);
                    if (key != null)
                    {
                        keys.Add(key);
                    }
                }
            }
            return keys.ToArray();
        }

        private static PublicKey OnP256(IDictionary<string, object> jwk)
        {
            byte[] x = Wire.Base64Url(jwk.Text("x")), y = Wire.Base64Url(jwk.Text("y"));
            if (jwk.Text("kty") != "EC" || jwk.Text("crv") != "P-256"
                || x == null || y == null || x.Length != 32 || y.Length != 32)
            {
                return null;
            }
            ECParameters ec = new ECParameters();
            ec.Curve = ECCurve.NamedCurves.nistP256;
            ec.Q = new ECPoint { X = x, Y = y };
            // Here and now: a point off the curve, or a framework without ECDSA, is no matter for requests.
            using (ECDsa.Create(ec))
            {
                return new PublicKey(jwk.Text("kid"), new RSAParameters(), ec);
            }
        }

        private static PublicKey OfRsa(IDictionary<string, object> jwk)
        {
            byte[] modulus = Wire.Base64Url(jwk.Text("n")), exponent = Wire.Base64Url(jwk.Text("e"));
            // RFC 7518 3.3: 2048 bits at least.
            if (jwk.Text("kty") != "RSA" || modulus == null || exponent == null || modulus.Length < 256)
            {
                return null;
            }
            RSAParameters rsa = new RSAParameters { Modulus = modulus, Exponent = exponent };
            return new PublicKey(jwk.Text("kid"), rsa, null);
        }
    }

    /// <summary>An address, or a network in CIDR notation.</summary>
    internal sealed class Network
    {
        private readonly byte[] address;
        private readonly int prefix;

        private Network(byte[] address, int prefix)
        {
            this.address = address;
            this.prefix = prefix;
        }

        /// <summary>Null for what is none, and for all the world.</summary>
        internal static Network Parse(string text)
        {
            string[] parts = text.Split('/');
            IPAddress address;
            if (parts.Length > 2 || !IPAddress.TryParse(parts[0], out address))
            {
                return null;
            }
            byte[] bytes = address.GetAddressBytes();
            int prefix = bytes.Length * 8;
            if (parts.Length == 2 && (!int.TryParse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out prefix)
                || prefix < 1 || prefix > bytes.Length * 8))
            {
                return null;
            }
            return new Network(bytes, prefix);
        }

        internal bool Contains(IPAddress peer)
        {
            bool mapped = peer.AddressFamily == AddressFamily.InterNetworkV6 && peer.IsIPv4MappedToIPv6;
            byte[] bytes = (mapped ? peer.MapToIPv4() : peer).GetAddressBytes();
            if (bytes.Length != address.Length)
            {
                return false;
            }
            for (int bit = 0; bit < prefix; bit++)
            {
                if (((bytes[bit / 8] ^ address[bit / 8]) & (128 >> (bit % 8))) != 0)
                {
                    return false;
                }
            }
            return true;
        }
    }

    /// <summary>The appSettings of web.config, read once; IIS starts the application anew when they change.</summary>
    internal sealed class Settings
    {
        private const string Prefix = "Vestibule";
        private const int ShortestSecret = 32;

        private readonly NameValueCollection values;
        private readonly string folder;

        internal Settings(NameValueCollection values, string folder)
        {
            this.values = values;
            this.folder = folder;
            foreach (string key in values.AllKeys)
            {
                if (key != null && key.StartsWith(Prefix, StringComparison.Ordinal) && Array.IndexOf(Known, key) < 0)
                {
                    throw Fault(key, "there is no such setting");
                }
            }
        }

        private static readonly string[] Known =
        {
            "VestibulePublicUrl", "VestibuleTrust", "VestibuleUsernameClaim", "VestibuleClockSkew",
            "VestibuleSessionCookie", "VestibuleSessionIssuer", "VestibuleSessionAudience", "VestibuleSessionAlgorithm",
            "VestibuleSessionSecret", "VestibuleSessionSecretFile", "VestibuleSessionKeysFile",
            "VestibuleAssertionHeader", "VestibuleAssertionIssuer", "VestibuleAssertionAudience", "VestibuleAssertionAlgorithm",
            "VestibuleAssertionSecret", "VestibuleAssertionSecretFile", "VestibuleAssertionKeysFile",
            "VestibuleUserHeader", "VestibuleProxies",
        };

        /// <summary>What is believed, in the order in which it is looked for.</summary>
        internal IEvidence[] Evidence()
        {
            List<IEvidence> evidence = new List<IEvidence>();
            List<SharedSecret> secrets = new List<SharedSecret>();
            foreach (string kind in Words("VestibuleTrust", "session"))
            {
                switch (kind)
                {
                    case "session":
                        string cookie = Value("VestibuleSessionCookie", Value("ApplicationSecurityAuthSessionTokenCookie", "wfgen_token"));
                        evidence.Add(new SessionCookie(cookie, Check("Session", "session token", "HS256", secrets)));
                        break;
                    case "assertion":
                        string header = Value("VestibuleAssertionHeader", "X-Identity-Assertion");
                        evidence.Add(new AssertionHeader(header, Check("Assertion", "assertion", "ES256", secrets)));
                        break;
                    case "header":
                        evidence.Add(new BareHeader(Value("VestibuleUserHeader", "X-Forwarded-User"), Proxies()));
                        break;
                    default:
                        throw Fault("VestibuleTrust", "expected session, assertion or header, found " + kind);
                }
            }
            if (evidence.Count == 0)
            {
                throw Fault("VestibuleTrust", "expected session, assertion or header, found nothing");
            }
            return evidence.ToArray();
        }

        private TokenCheck Check(string kind, string what, string usualAlgorithm, List<SharedSecret> others)
        {
            string publicUrl = Value("VestibulePublicUrl", "");
            Uri url;
            if (!Uri.TryCreate(publicUrl, UriKind.Absolute, out url) || publicUrl.EndsWith("/", StringComparison.Ordinal))
            {
                throw Fault("VestibulePublicUrl", "expected server.public_url of proxy.toml, such as https://workflow.example.com/wfgen");
            }
            int skew;
            if (!int.TryParse(Value("VestibuleClockSkew", "30"), NumberStyles.None, CultureInfo.InvariantCulture, out skew) || skew > 300)
            {
                throw Fault("VestibuleClockSkew", "expected seconds from 0 to 300");
            }
            string algorithm = Value(Prefix + kind + "Algorithm", usualAlgorithm);
            return new TokenCheck(what, kind == "Assertion", algorithm, Keys(kind, algorithm, others),
                Value(Prefix + kind + "Issuer", publicUrl + "/auth"), Value(Prefix + kind + "Audience", publicUrl),
                Value("VestibuleUsernameClaim", "https://api.workflowgen.com/username"), skew);
        }

        private IKey[] Keys(string kind, string algorithm, List<SharedSecret> others)
        {
            switch (algorithm)
            {
                case "HS256":
                    SharedSecret[] secrets = Secrets(kind);
                    foreach (SharedSecret secret in secrets)
                    {
                        if (others.Exists(secret.Is))
                        {
                            throw Fault("VestibuleAssertionSecret", "session tokens and assertions need secrets of their own");
                        }
                    }
                    others.AddRange(secrets);
                    return secrets;
                case "ES256":
                case "RS256":
                    return PublicKeys(Prefix + kind + "KeysFile", algorithm);
                default:
                    throw Fault(Prefix + kind + "Algorithm", "expected HS256, ES256 or RS256");
            }
        }

        private SharedSecret[] Secrets(string kind)
        {
            string inFile = Prefix + kind + "SecretFile", inline = Prefix + kind + "Secret";
            List<byte[]> secrets = new List<byte[]>();
            foreach (string path in Words(inFile, ""))
            {
                secrets.Add(Secret(inFile, path));
            }
            string text = Value(inline, kind == "Session" ? Value("ApplicationSecurityAuthSessionTokenSigningSecret", "") : "");
            if (secrets.Count == 0 && text.Length > 0)
            {
                secrets.Add(Wire.Utf8.GetBytes(text));
            }
            if (secrets.Count == 0 || secrets.Exists(delegate(byte[] secret) { return secret.Length < ShortestSecret; }))
            {
                throw Fault(inline, "expected a secret of 32 bytes at least, here or in a file that " + inFile + " names");
            }
            return secrets.ConvertAll(delegate(byte[] secret) { return new SharedSecret(secret); }).ToArray();
        }

        private byte[] Secret(string key, string path)
        {
            byte[] bytes = Read(key, path);
            bool marked = bytes.Length > 1 && (bytes[0] == 0xEF && bytes[1] == 0xBB || bytes[0] == 0xFF && bytes[1] == 0xFE);
            if (marked)
            {
                throw Fault(key, path + " begins with a byte order mark: write it as plain UTF-8");
            }
            int end = bytes.Length;
            while (end > 0 && (bytes[end - 1] == '\n' || bytes[end - 1] == '\r'))
            {
                end--;
            }
            Array.Resize(ref bytes, end);
            return bytes;
        }

        private IKey[] PublicKeys(string key, string algorithm)
        {
            string path = Value(key, "");
            PublicKey[] keys;
            try
            {
                keys = path.Length == 0 ? new PublicKey[0] : PublicKey.OfSet(Read(key, path), algorithm);
            }
            catch (NotImplementedException)
            {
                throw Fault(key, "this framework has no " + algorithm + ": use RS256 or HS256");
            }
            catch (Exception fault)
            {
                if (fault is ConfigurationErrorsException)
                {
                    throw;
                }
                throw Fault(key, path + " is no JWK Set: " + fault.Message);
            }
            if (keys.Length == 0)
            {
                throw Fault(key, "expected a file with what <public_url>/auth/jwks answers, with a key for " + algorithm);
            }
            return keys;
        }

        private Network[] Proxies()
        {
            List<Network> networks = new List<Network>();
            foreach (string text in Words("VestibuleProxies", ""))
            {
                Network network = Network.Parse(text);
                if (network == null)
                {
                    throw Fault("VestibuleProxies", "expected addresses or networks such as 10.0.0.5 or 10.0.0.0/24, found " + text);
                }
                networks.Add(network);
            }
            if (networks.Count == 0)
            {
                throw Fault("VestibuleProxies", "expected Vestibule's addresses: without them a header is worth nothing");
            }
            return networks.ToArray();
        }

        private byte[] Read(string key, string path)
        {
            try
            {
                return File.ReadAllBytes(Path.Combine(folder, path));
            }
            catch (Exception fault)
            {
                throw Fault(key, path + " cannot be read: " + fault.Message);
            }
        }

        private string Value(string key, string fallback)
        {
            string value = values[key];
            return string.IsNullOrEmpty(value) ? fallback : value;
        }

        private string[] Words(string key, string fallback)
        {
            string[] words = Value(key, fallback).Split(new[] { ',', ';' }, StringSplitOptions.RemoveEmptyEntries);
            return Array.FindAll(Array.ConvertAll(words, delegate(string word) { return word.Trim(); }),
                delegate(string word) { return word.Length > 0; });
        }

        private static ConfigurationErrorsException Fault(string key, string message)
        {
            return new ConfigurationErrorsException("web.config, appSettings, " + key + ": " + message);
        }
    }

    /// <summary>A request is not believed. The message names a check and no value.</summary>
    internal sealed class Refusal : Exception
    {
        internal Refusal(string message)
            : base(message)
        {
        }
    }

    internal static class Username
    {
        private const int Longest = 255;

        /// <summary>What can be a username: Vestibule's own bounds of a field.</summary>
        internal static string Checked(string username)
        {
            if (username.Trim().Length == 0 || username.Length > Longest || Array.Exists(username.ToCharArray(), char.IsControl))
            {
                throw new Refusal("the username is empty, longer than 255 characters, or has control characters");
            }
            return username;
        }
    }

    internal static class Wire
    {
        /// <summary>UTF-8 that throws at what is none, instead of putting other characters in its place.</summary>
        internal static readonly Encoding Utf8 = new UTF8Encoding(false, true);

        /// <summary>Null for what is not base64url without padding (RFC 7515 2), written in its one way.</summary>
        internal static byte[] Base64Url(string text)
        {
            if (text == null || text.Length % 4 == 1 || !Array.TrueForAll(text.ToCharArray(), IsBase64Url))
            {
                return null;
            }
            string padded = text.Replace('-', '+').Replace('_', '/') + new string('=', (4 - text.Length % 4) % 4);
            byte[] bytes = Convert.FromBase64String(padded);
            // Bits that belong to no byte must be zero, or one signature would have several spellings.
            return Convert.ToBase64String(bytes) == padded ? bytes : null;
        }

        private static bool IsBase64Url(char c)
        {
            return c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_';
        }

        /// <summary>The object that a text holds; null for what is no JSON object.</summary>
        internal static IDictionary<string, object> JsonObject(byte[] utf8)
        {
            try
            {
                return new JsonReader(Utf8.GetString(utf8)).Whole() as IDictionary<string, object>;
            }
            catch (FormatException)
            {
                return null;
            }
            catch (DecoderFallbackException)
            {
                return null;
            }
        }

        internal static object Value(this IDictionary<string, object> claims, string name)
        {
            object value;
            return claims.TryGetValue(name, out value) ? value : null;
        }

        /// <summary>Null where there is no text of that name.</summary>
        internal static string Text(this IDictionary<string, object> claims, string name)
        {
            return claims.Value(name) as string;
        }
    }

    /// <summary>JSON (RFC 8259), strictly; a name that comes twice, or depth, is refused (RFC 8725 2.4).</summary>
    /// <remarks>Its own: the framework's serializers take much that is no JSON, from anybody, before a signature is seen.</remarks>
    internal sealed class JsonReader
    {
        private const int Deepest = 32;

        private readonly string text;
        private int at;

        internal JsonReader(string text)
        {
            this.text = text;
        }

        /// <summary>A dictionary, array, string, double or bool, or null.</summary>
        /// <exception cref="FormatException">It is no JSON.</exception>
        internal object Whole()
        {
            object value = Value(0);
            Need(at == text.Length);
            return value;
        }

        private object Value(int depth)
        {
            Need(depth < Deepest);
            Space();
            object value;
            switch (Here())
            {
                case '{':
                    value = Members(depth);
                    break;
                case '[':
                    value = Elements(depth);
                    break;
                case '"':
                    value = String();
                    break;
                case 't':
                    Word("true");
                    value = true;
                    break;
                case 'f':
                    Word("false");
                    value = false;
                    break;
                case 'n':
                    Word("null");
                    value = null;
                    break;
                default:
                    value = Number();
                    break;
            }
            Space();
            return value;
        }

        private Dictionary<string, object> Members(int depth)
        {
            Dictionary<string, object> members = new Dictionary<string, object>(StringComparer.Ordinal);
            at++;
            Space();
            while (Here() != '}')
            {
                if (members.Count > 0)
                {
                    Word(",");
                    Space();
                }
                string name = String();
                Space();
                Word(":");
                Need(!members.ContainsKey(name));
                members.Add(name, Value(depth + 1));
            }
            at++;
            return members;
        }

        private object[] Elements(int depth)
        {
            List<object> elements = new List<object>();
            at++;
            Space();
            while (Here() != ']')
            {
                if (elements.Count > 0)
                {
                    Word(",");
                }
                elements.Add(Value(depth + 1));
            }
            at++;
            return elements.ToArray();
        }

        private string String()
        {
            Word("\"");
            StringBuilder read = new StringBuilder();
            while (Here() != '"')
            {
                char c = text[at++];
                Need(c >= ' ');
                read.Append(c == '\\' ? Escaped() : c);
            }
            at++;
            return read.ToString();
        }

        private char Escaped()
        {
            char c = Here();
            at++;
            if (c == 'u')
            {
                ushort unit = 0;
                Need(at + 4 <= text.Length && ushort.TryParse(text.Substring(at, 4),
                    NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out unit));
                at += 4;
                return (char)unit;
            }
            int known = "\"\\/bfnrt".IndexOf(c);
            Need(known >= 0);
            return "\"\\/\b\f\n\r\t"[known];
        }

        private double Number()
        {
            int start = at;
            while (at < text.Length && "+-.eE0123456789".IndexOf(text[at]) >= 0)
            {
                at++;
            }
            string number = text.Substring(start, at - start);
            double read = 0;
            Need(Form.IsMatch(number)
                && double.TryParse(number, NumberStyles.Float, CultureInfo.InvariantCulture, out read)
                && !double.IsInfinity(read));
            return read;
        }

        // RFC 8259 6.
        private static readonly Regex Form = new Regex(@"\A-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?\z", RegexOptions.CultureInvariant);

        private void Word(string word)
        {
            Need(string.CompareOrdinal(text, at, word, 0, word.Length) == 0);
            at += word.Length;
        }

        private void Space()
        {
            while (at < text.Length && " \t\n\r".IndexOf(text[at]) >= 0)
            {
                at++;
            }
        }

        private char Here()
        {
            Need(at < text.Length);
            return text[at];
        }

        private static void Need(bool holds)
        {
            if (!holds)
            {
                throw new FormatException();
            }
        }
    }
}
